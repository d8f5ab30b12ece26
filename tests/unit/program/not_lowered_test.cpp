// SPDX-License-Identifier: Apache-2.0
#include "program/not_lowered.h"

#include "tests/unit/program/small_models.h"

#include <gtest/gtest.h>

namespace orrery {
namespace {

using testing::small_moe;
using testing::small_strategy;

TEST(NotLowered, RefusesOtherRankOrders) {
  const Model model = small_moe();
  Strategy strategy = small_strategy(model);
  strategy.order = "tp-cp-ep-pp-dp";
  const std::vector<Violation> found = not_lowered(model, strategy);
  ASSERT_EQ(found.size(), 1);
  EXPECT_EQ(found[0].key, "order");
  EXPECT_EQ(found[0].expected,
            "expected \"tp-cp-ep-dp-pp\", got \"tp-cp-ep-pp-dp\": other rank orders are not lowered yet");
  EXPECT_EQ(found[0].hint, "the device of each rank, in the plan's placement, says the same");
}

TEST(NotLowered, RefusesNothingElse) {
  Model model = small_moe();
  model.tied_embeddings = true;
  Strategy strategy = small_strategy(model, 2, 2);
  strategy.tp = strategy.cp = strategy.etp = strategy.num_optimizer_instances = 2;
  strategy.sp = true;
  strategy.zero_dense = strategy.zero_expert = 3;
  strategy.dispatcher = Dispatcher::two_level;
  strategy.capacity_factor = 1.25;
  strategy.overlap = {
      .dp_buckets = true, .tp = true, .ep_batch_level = true, .delayed_wgrad = true, .shared_expert = true};
  strategy.cuda_graphs = strategy.offload_optimizer = strategy.offload_activations = true;
  strategy.precision = DType::fp8;
  strategy.optimizer = OptimizerKind::muon;
  strategy.master_dtype = strategy.moment_dtype = strategy.grad_dtype = strategy.grad_wire_dtype = DType::bf16;
  strategy.mtp = Mtp::on;
  EXPECT_TRUE(not_lowered(model, strategy).empty());
}

}  // namespace
}  // namespace orrery
