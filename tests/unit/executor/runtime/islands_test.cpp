// SPDX-License-Identifier: Apache-2.0
// Training on hosts of different size: five ranks on one of two and one of three, with groups that lie on both.
#include "tests/unit/executor/runtime/whole_run.h"

#include <functional>

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using namespace testing;

constexpr BatchShape kTenRows{.seq = 16, .global_batch = 10};

Model ten_experts() {
  Model model = small_model();
  model.moe->num_experts = 10;
  return model;
}

void expect_as_on_one_host(const std::function<void(Strategy&)>& change) {
  const Model model = ten_experts();
  Strategy s = strategy_of(model);
  change(s);
  const StepProgram program = lower(model, s, kTenRows, 5);
  ASSERT_EQ(cpu_unsupported(program), std::vector<std::string>());
  const WholeRun one = run_whole(program, settings_of(3));
  const WholeRun got = run_whole(program, settings_of(3), {}, Backend::unequal);
  expect_same_bits(one, got);
  for (const auto& [name, values] : one.gradients) EXPECT_TRUE(got.gradients.at(name) == values) << name;
  expect_accounts(program, settings_of(1), Backend::unequal);
}

TEST(UnequalIslands, DataParallelRanksTrainToTheBitsOfOneHost) {
  expect_as_on_one_host([](Strategy&) {});
  expect_as_on_one_host([](Strategy& s) { s.precision = DType::bf16; });
}

TEST(UnequalIslands, SoDoShardsOfStatesGradientsAndWeights) {
  for (const int zero : {1, 2, 3}) {
    SCOPED_TRACE(zero);
    expect_as_on_one_host([&](Strategy& s) { s.zero_dense = s.zero_expert = zero; });
  }
}

TEST(UnequalIslands, SoDoExpertParallelRanksWhateverCarriesTheRows) {
  for (const Dispatcher dispatcher : {Dispatcher::all_to_all, Dispatcher::all_gather, Dispatcher::two_level}) {
    SCOPED_TRACE(static_cast<int>(dispatcher));
    expect_as_on_one_host([&](Strategy& s) {
      s.ep = 5;
      s.dispatcher = dispatcher;
      s.zero_dense = 1;
    });
  }
}

TEST(UnequalIslands, SoDoStagesOfAPipelineAcrossThem) {
  Model model = ten_experts();
  model.layers.push_back(LayerKind::moe);
  Strategy s = strategy_of(model);
  s.pp = 5;
  s.stages = even_stages(model.num_layers(), s.pp);
  const StepProgram program = lower(model, s, kTenRows, 5);
  ASSERT_EQ(cpu_unsupported(program), std::vector<std::string>());
  expect_same_bits(run_whole(program, settings_of(2)), run_whole(program, settings_of(2), {}, Backend::unequal));
  expect_accounts(program, settings_of(1), Backend::unequal);
}

}  // namespace
}  // namespace orrery::executor
