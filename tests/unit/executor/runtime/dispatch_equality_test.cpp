// SPDX-License-Identifier: Apache-2.0
// Ways to the experts: dispatchers, capacity, and the switches of overlap, which change the order of ops. See
// docs/design/equality.md.
#include "tests/unit/executor/runtime/whole_run.h"

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using namespace testing;

TEST(DispatchEquality, OtherDispatchersSumATokensRowsElsewhere) {
  for (const Model& model : {rich_model(), deepseek_model()}) {
    const WholeRun one = run_whole(lower(model, testing::strategy_of(model), kBatch, 1), settings_of(2));
    for (const Dispatcher dispatcher : {Dispatcher::all_gather, Dispatcher::two_level}) {
      for (const std::int64_t ep : {2, 4}) {
        SCOPED_TRACE(10 * ep + static_cast<int>(dispatcher));
        Strategy s = testing::strategy_of(model, 1, ep);
        s.dispatcher = dispatcher;
        const StepProgram program = lower(model, s, kBatch, 4);
        expect_close(one, run_whole(program, settings_of(2)));
        expect_accounts(program, settings_of(1));
      }
    }
  }
}

TEST(DispatchEquality, OtherDispatchersWithRecomputationAndExpertTensorParallelism) {
  const Model model = rich_model();
  const WholeRun one = run_whole(lower(model, testing::strategy_of(model), kBatch, 1), settings_of(2));
  for (const Dispatcher dispatcher : {Dispatcher::all_to_all, Dispatcher::all_gather, Dispatcher::two_level}) {
    for (const RecomputeModule module : {RecomputeModule::moe, RecomputeModule::full}) {
      SCOPED_TRACE(static_cast<int>(dispatcher));
      Strategy s = testing::strategy_of(model, 1, 2);
      s.dispatcher = dispatcher;
      s.etp = 2;
      s.stages[0].recompute = {module};
      const StepProgram program = lower(model, s, kBatch, 4);
      expect_close(one, run_whole(program, settings_of(2)));
      expect_accounts(program, settings_of(1));
    }
  }
}

// Places are counted on each rank and in each micro-batch, so EP ranks drop what one rank drops in as many
// micro-batches.
TEST(DispatchEquality, ACapacityDropsTheSameTokensWhereverExpertsAre) {
  const Model model = rich_model();
  for (const double capacity : {0.5, 1.0, 4.0}) {
    SCOPED_TRACE(capacity);
    Strategy s = testing::strategy_of(model);
    const WholeRun dropless = run_whole(lower(model, s, kBatch, 1), settings_of(2));
    s.capacity_factor = capacity;
    const WholeRun one = run_whole(lower(model, s, kBatch, 1), settings_of(2));
    if (capacity > 1.0) {
      expect_close(dropless, one);  // every expert has a place for every token
    } else {
      EXPECT_NE(dropless.losses[0], one.losses[0]);
    }
    for (const auto& [ep, etp] : {std::pair{2, 1}, {4, 1}, {2, 2}}) {
      s.ep = ep;
      s.etp = etp;
      const StepProgram program = lower(model, s, kBatch, 4);
      expect_close(one, run_whole(program, settings_of(2)), 1e-5, 10.0);
      expect_accounts(program, settings_of(1));
    }
    s.ep = s.etp = 1;
  }
}

TEST(DispatchEquality, OverlapIsAnOrderAndChangesNoBit) {
  const Model model = rich_model();
  Strategy plain = testing::strategy_of(model, 1, 2);
  plain.pp = 2;
  plain.stages = even_stages(model.num_layers(), 2);
  const WholeRun want = run_whole(lower(model, plain, kBatch, 4), settings_of(2));
  for (int which = 0; which < 3; ++which) {
    SCOPED_TRACE(which);
    Strategy s = plain;
    s.overlap.shared_expert = which == 0;
    s.overlap.delayed_wgrad = which == 1;
    s.overlap.ep_batch_level = which == 2;
    const StepProgram program = lower(model, s, kBatch, 4);
    expect_same_bits(want, run_whole(program, settings_of(2)));
    expect_accounts(program, settings_of(1));
  }
}

}  // namespace
}  // namespace orrery::executor
