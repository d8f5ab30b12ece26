// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/executor/runtime/covering_array.h"

#include "program/legality.h"
#include "tests/unit/executor/runtime/whole_run.h"

#include <cstdio>
#include <set>

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

/// The factors of the array, and how a row becomes a strategy.
struct Layout {
  Strategy strategy;
  Model model;
  std::int64_t world = 0;

  std::string text() const;
};

constexpr Schedule kSchedules[] = {Schedule::gpipe, Schedule::one_f_one_b, Schedule::interleaved, Schedule::zb_h1,
                                   Schedule::zb_h2, Schedule::zbv,         Schedule::dualpipe,    Schedule::dualpipev};
constexpr std::int64_t kExperts[] = {1, 2, 4};
const std::vector<std::set<RecomputeModule>> kRecompute = {
    {}, {RecomputeModule::full}, {RecomputeModule::moe}, {RecomputeModule::core_attn, RecomputeModule::layernorm}};
const std::vector<std::string> kFactors = {"tp",          "cp",       "ep",        "etp",        "pp",   "zero dense",
                                           "zero expert", "schedule", "recompute", "dispatcher", "type", "family"};
const std::vector<std::size_t> kSizes = {2, 2, 3, 2, 2, 4, 4, 8, 4, 3, 2, 5};

Model family(std::size_t index) {
  switch (index) {
    case 0:
      return small_model();
    case 1:
      return rich_model();
    case 2:
      return deepseek_model();
    case 3:
      return gpt_oss_model();
    default:
      return qwen2_moe_model();
  }
}

/// The layout of a row on the fewest ranks that it fits, with two for each shard where something is sharded; nothing if
/// it is not legal on up to eight.
std::optional<Layout> layout_of(const Row& row) {
  Layout out{.strategy = {}, .model = family(row[11])};
  Strategy& s = out.strategy;
  s.tp = 1 + static_cast<std::int64_t>(row[0]);
  s.sp = s.tp > 1;
  s.cp = 1 + static_cast<std::int64_t>(row[1]);
  // The three kinds of context parallelism take turns over rows.
  s.cp_kind = out.model.spans.empty() ? static_cast<ContextParallel>((row[7] + row[8] + row[9]) % 3)
                                      : static_cast<ContextParallel>(1 + (row[7] + row[8]) % 2);
  s.ep = kExperts[row[2]];
  s.etp = 1 + static_cast<std::int64_t>(row[3]);
  s.pp = 1 + static_cast<std::int64_t>(row[4]);
  s.zero_dense = static_cast<int>(row[5]);
  s.zero_expert = static_cast<int>(row[6]);
  s.schedule = kSchedules[row[7]];
  const bool two_stages =
      s.schedule == Schedule::interleaved || s.schedule == Schedule::zbv || s.schedule == Schedule::dualpipev;
  s.vpp = two_stages ? 2 : 1;
  s.dispatcher = static_cast<Dispatcher>(row[9]);
  s.precision = row[10] == 0 ? DType::f32 : DType::bf16;
  s.mtp = out.model.num_mtp_modules > 0 ? Mtp::on : Mtp::off;
  s.stages = with_mtp(even_stages(out.model.num_layers(), s.num_stages()), out.model.num_mtp_modules);
  for (StageLayout& stage : s.stages) stage.recompute = kRecompute[row[8]];
  const bool shards = s.zero_dense + s.zero_expert > 0;
  for (const std::int64_t world : {2, 4, 8}) {
    if (!violations(out.model, s, kRows, world).empty()) continue;
    const Mesh mesh(s, world);
    if (shards && world < 8 && (mesh.size(Group::dp) == 1 || mesh.size(Group::edp) == 1)) continue;
    out.world = world;
    return out;
  }
  return std::nullopt;
}

std::string Layout::text() const {
  constexpr std::string_view kKinds[] = {"ring", "gather", "ulysses"}, kDispatchers[] = {"a2a", "gather", "2level"};
  std::string recompute;
  for (const RecomputeModule module : strategy.stages[0].recompute) recompute += fmt::format("{} ", name_of(module));
  return fmt::format("{} ranks  tp{} cp{}{} ep{} etp{} pp{} zero {}/{}  {:11} {:6} {:4} {:11} {}", world, strategy.tp,
                     strategy.cp,
                     strategy.cp > 1 ? fmt::format(" {}", kKinds[static_cast<std::size_t>(strategy.cp_kind)]) : "",
                     strategy.ep, strategy.etp, strategy.pp, strategy.zero_dense, strategy.zero_expert,
                     name_of(strategy.schedule), kDispatchers[static_cast<std::size_t>(strategy.dispatcher)],
                     name_of(strategy.precision), model.family, recompute);
}

/// One rank with all of it.
WholeRun reference(const Layout& layout, std::int64_t num_steps) {
  static std::map<std::string, WholeRun> known;
  Strategy s = testing::strategy_of(layout.model);
  s.precision = layout.strategy.precision;
  const std::string name =
      fmt::format("{} {} {}", layout.model.family, layout.model.moe->shared_width, name_of(s.precision));
  if (!known.contains(name)) known[name] = run_whole(lower(layout.model, s, kRows, 1), settings_of(num_steps));
  return known.at(name);
}

void expect_right(const Layout& layout) {
  SCOPED_TRACE(layout.text());
  const StepProgram program = lower(layout.model, layout.strategy, kRows, layout.world);
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
  // Nor do recomputation and sharded states change a bit.
  Strategy plain = layout.strategy;
  for (StageLayout& stage : plain.stages) stage.recompute.clear();
  if (plain.zero_dense == 1) plain.zero_dense = 0;
  if (plain.zero_expert == 1) plain.zero_expert = 0;
  if (plain == layout.strategy) return;
  const StepProgram again = lower(layout.model, plain, kRows, layout.world);
  expect_same_bits(got, run_whole(again, settings_of(2)));
}

CoveringArray array_of_layouts() {
  return covering_array(kSizes, [](const Row& row) { return layout_of(row).has_value(); });
}

/// Every two values of {TP, CP, EP, ETP, PP, ZeRO dense, ZeRO expert, schedule, recompute, dispatcher, type, family}.
TEST(CoveringArray, EveryPairOfDimensionsAgreesWithOneRank) {
  const CoveringArray array = array_of_layouts();
  std::printf("%zu rows\n", array.rows.size());
  std::vector<std::string> missing;
  for (const auto& [a, b] : array.without_row) {
    missing.push_back(fmt::format("{} {}, {} {}", kFactors[a.first], a.second, kFactors[b.first], b.second));
  }
  // Without EP nothing travels, whoever would carry it; DualPipe needs two ranks.
  EXPECT_EQ(missing, (std::vector<std::string>{"ep 0, dispatcher 1", "ep 0, dispatcher 2", "pp 0, schedule 6"}));
  for (const Row& row : array.rows) {
    const Layout layout = layout_of(row).value();
    std::printf("%s\n", layout.text().c_str());
    expect_right(layout);
  }
}

/// The network changes no bit and adds no byte: ranks that are a host each, or share one by twos, take turns.
TEST(CoveringArray, EveryLayoutTrainsToTheSameBitsOverTheNetwork) {
  Backend backend = Backend::tcp;
  for (const Row& row : array_of_layouts().rows) {
    const Layout layout = layout_of(row).value();
    if (layout.world == 2) backend = Backend::tcp;
    SCOPED_TRACE(fmt::format("{} {}", name_of(backend), layout.text()));
    const StepProgram program = lower(layout.model, layout.strategy, kRows, layout.world);
    expect_same_bits(run_whole(program, settings_of(2)), run_whole(program, settings_of(2), {}, backend));
    expect_accounts(program, settings_of(1), backend);
    backend = backend == Backend::tcp ? Backend::islands : Backend::tcp;
  }
}

TEST(CoveringArray, EveryScheduleWithExpertAndWithTensorParallelRanks) {
  for (std::size_t schedule = 0; schedule < 8; ++schedule) {
    for (const bool tp : {false, true}) {
      for (const std::size_t model : {1, 2}) {
        const std::optional<Layout> layout =
            layout_of({tp ? 1U : 0U, 0, tp ? 0U : 1U, 0, 1, 0, 0, schedule, 0, 0, 0, model});
        ASSERT_TRUE(layout.has_value()) << schedule;
        expect_right(*layout);
      }
    }
  }
}

}  // namespace
}  // namespace orrery::executor
