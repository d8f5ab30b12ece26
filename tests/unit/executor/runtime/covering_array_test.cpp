// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/executor/runtime/covering_array.h"

#include "program/lower_in_buckets.h"
#include "tests/unit/executor/runtime/covering_layouts.h"
#include "tests/unit/executor/runtime/whole_run.h"

#include <cstdio>
#include <map>
#include <optional>

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using namespace testing;

bool has_pair(const CoveringArray& array, std::size_t a, std::size_t i, std::size_t b, std::size_t j) {
  return std::any_of(array.rows.begin(), array.rows.end(), [&](const Row& row) { return row[a] == i && row[b] == j; });
}

TEST(CoveringArrayOfRows, HasEveryPairThatALegalRowCanHaveAndNamesTheOthers) {
  const std::vector<std::size_t> sizes = {3, 4, 2, 2};
  const CoveringArray array = covering_array(
      sizes, [](const Row& row) { return !(row[0] == 2 && row[1] == 3) && (row[2] == 0 || row[3] == 0); });
  std::size_t num_missing = 0;
  for (std::size_t a = 0; a < 4; ++a) {
    for (std::size_t b = a + 1; b < 4; ++b) {
      for (std::size_t i = 0; i < sizes[a]; ++i) {
        for (std::size_t j = 0; j < sizes[b]; ++j) num_missing += has_pair(array, a, i, b, j) ? 0 : 1;
      }
    }
  }
  EXPECT_EQ(num_missing, 2U);
  EXPECT_EQ(array.without_row, (std::vector<CoveringArray::Pair>{{{0, 2}, {1, 3}}, {{2, 1}, {3, 1}}}));
  EXPECT_LT(array.rows.size(), 20U);  // of 48
}

constexpr BatchShape kRows{.seq = 16, .global_batch = 16};

const std::vector<Model>& models() {
  static const std::vector<Model> all = {small_model(), rich_model(), deepseek_model(), gpt_oss_model(),
                                         qwen2_moe_model()};
  return all;
}

/// One rank with all of it.
WholeRun reference(const Layout& layout, std::int64_t num_steps) {
  static std::map<std::string, WholeRun> known;
  const Model& model = models()[layout.model];
  Strategy s = testing::strategy_of(model);
  s.precision = layout.strategy.precision;
  const std::string name = fmt::format("{} {} {}", model.family, model.moe->shared_width, name_of(s.precision));
  if (!known.contains(name))
    known[name] = run_whole(lower(models()[layout.model], s, kRows, 1), settings_of(num_steps));
  return known.at(name);
}

void expect_right(const Layout& layout) {
  SCOPED_TRACE(layout.text(models()));
  const StepProgram program = lower(models()[layout.model], layout.strategy, kRows, layout.world);
  ASSERT_EQ(cpu_unsupported(program), std::vector<std::string>{});
  expect_accounts(program, settings_of(1));
  if (layout.strategy.precision == DType::bf16) {
    const WholeRun one = reference(layout, 20);
    const WholeRun got = run_whole(program, settings_of(20));
    for (std::size_t i = 0; i < 20; ++i) {
      EXPECT_NEAR(got.losses[i], one.losses[i], 1e-2 * one.losses[i]) << "loss of step " << i;
    }
    return;
  }
  const WholeRun one = reference(layout, 2);
  const WholeRun got = run_whole(program, settings_of(2));
  expect_close(one, got);
  // Nor do recomputation, sharded states and buckets that end with every unit change a bit.
  Strategy plain = layout.strategy;
  for (StageLayout& stage : plain.stages) stage.recompute.clear();
  if (plain.zero_dense == 1) plain.zero_dense = 0;
  if (plain.zero_expert == 1) plain.zero_expert = 0;
  plain.overlap.dp_buckets = plain.zero_dense == 0 && plain.zero_expert == 0;
  if (plain == layout.strategy) return;
  const StepProgram again = lower_in_buckets(models()[layout.model], plain, kRows, layout.world, 1);
  expect_same_bits(got, run_whole(again, settings_of(2)));
}

/// Every two values of {TP, CP, EP, ETP, PP, ZeRO dense, ZeRO expert, schedule, recompute, dispatcher, type, family}.
TEST(CoveringArray, EveryPairOfDimensionsAgreesWithOneRank) {
  const CoveringArray array = array_of_layouts(models(), kRows);
  std::printf("%zu rows\n", array.rows.size());
  std::vector<std::string> missing;
  for (const auto& [a, b] : array.without_row) {
    missing.push_back(
        fmt::format("{} {}, {} {}", layout_factors()[a.first], a.second, layout_factors()[b.first], b.second));
  }
  // Without EP nothing travels, whoever would carry it; DualPipe needs two ranks.
  EXPECT_EQ(missing, (std::vector<std::string>{"ep 0, dispatcher 1", "ep 0, dispatcher 2", "pp 0, schedule 6"}));
  for (const Row& row : array.rows) {
    const Layout layout = layout_of(row, models(), kRows).value();
    std::printf("%s\n", layout.text(models()).c_str());
    expect_right(layout);
  }
}

/// The network changes no bit and adds no byte: ranks that are a host each, or share one by twos, or by twos and
/// threes, take turns.
TEST(CoveringArray, EveryLayoutTrainsToTheSameBitsOverTheNetwork) {
  const auto next = [](Backend backend) {
    return backend == Backend::tcp ? Backend::islands : backend == Backend::islands ? Backend::unequal : Backend::tcp;
  };
  Backend backend = Backend::tcp;
  for (const Row& row : array_of_layouts(models(), kRows).rows) {
    const Layout layout = layout_of(row, models(), kRows).value();
    if (layout.world == 2) backend = Backend::tcp;
    SCOPED_TRACE(fmt::format("{} {}", name_of(backend), layout.text(models())));
    const StepProgram program = lower(models()[layout.model], layout.strategy, kRows, layout.world);
    expect_same_bits(run_whole(program, settings_of(2)), run_whole(program, settings_of(2), {}, backend));
    expect_accounts(program, settings_of(1), backend);
    backend = next(backend);
  }
}

TEST(CoveringArray, EveryScheduleWithExpertAndWithTensorParallelRanks) {
  for (std::size_t schedule = 0; schedule < 8; ++schedule) {
    for (const bool tp : {false, true}) {
      for (const std::size_t model : {1, 2}) {
        const std::optional<Layout> layout =
            layout_of({tp ? 1U : 0U, 0, tp ? 0U : 1U, 0, 1, 0, 0, schedule, 0, 0, 0, model}, models(), kRows);
        ASSERT_TRUE(layout.has_value()) << schedule;
        std::printf("%s\n", layout->text(models()).c_str());
        expect_right(*layout);
      }
    }
  }
}

}  // namespace
}  // namespace orrery::executor
