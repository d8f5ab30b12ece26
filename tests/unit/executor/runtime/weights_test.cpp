// SPDX-License-Identifier: Apache-2.0
#include "executor/runtime/weights.h"

#include "base/errors.h"
#include "tests/unit/executor/runtime/thread_ranks.h"

#include <atomic>

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using testing::kBatch;

// Under ZeRO 3 the whole weights of a unit are in a tensor of the program, and under ZeRO 2 and 3 so are its gradients.
// Behind the last op that uses such a tensor its memory is another one's.
TEST(Weights, AUnitIsFoundWhileItsTensorLivesAndNotLater) {
  const Model model = testing::small_model();
  Strategy strategy = testing::strategy_of(model);
  strategy.zero_dense = strategy.zero_expert = 3;
  const StepProgram program = lower(model, strategy, kBatch, 2);
  std::atomic<std::int64_t> num_found = 0;
  testing::on_all_ranks(program, testing::settings_of(1), [&](RankRuntime& runtime, int) {
    Weights& weights = runtime.state().weights;
    runtime.observe([&](const OpCall& call) {
      if (call.op.key.op != OpCode::moe_fc2 || !call.is_forward()) return;
      EXPECT_GT(weights.weight(WeightRole::expert_fc2, call.layer(), unit_of(call.op.key)).rows, 0);
      ++num_found;
    });
    runtime.run_step();
    for (std::int16_t layer = 1; layer < 4; ++layer) {
      for (std::int32_t micro_batch = 0; micro_batch < program.num_micro_batches; ++micro_batch) {
        const UnitId unit{.layer = layer, .micro_batch = micro_batch};
        EXPECT_THROW(weights.weight(WeightRole::expert_fc2, layer, unit), InternalError);
        EXPECT_THROW(weights.weight(WeightRole::qkv, layer, unit), InternalError);
      }
    }
  });
  const std::int64_t num_forwards = 2 * 3 * program.num_micro_batches;  // ranks, layers with experts
  EXPECT_EQ(num_found, num_forwards);
}

}  // namespace
}  // namespace orrery::executor
