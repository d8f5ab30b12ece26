// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/program/lowering/lowered.h"

namespace orrery {
namespace {

using testing::Lowered;
using testing::small_moe;
using testing::small_strategy;
using R = TensorRole;

// 32 tokens, each with 2 of 8 experts of width 32: 64 pairs.

Model with_shared(bool gated = false) {
  Model model = small_moe();
  model.moe->shared_width = 32;
  model.moe->shared_expert_gate = gated;
  return model;
}

Strategy with_etp(std::int64_t ep = 1) {
  Strategy strategy = small_strategy(small_moe(), 1, ep);
  strategy.etp = 2;
  return strategy;
}

TEST(MoeFfn, CapacityMakesEverySizeFixed) {
  Strategy strategy = small_strategy(small_moe(), 1, 2);
  strategy.capacity_factor = 1.25;
  const Lowered lowered(small_moe(), strategy, 2);
  // An expert has ceil(64 x 1.25 / 8) = 10 places for each rank.
  EXPECT_EQ(lowered.shape<GroupedGemmShape>("moe.fc1", Pass::fwd).rows, (Rows{Rows::Kind::fixed, 80}));
  for (const Tensor& tensor : lowered.ops().tensors) {
    EXPECT_EQ(tensor.rows.kind, Rows::Kind::fixed) << name_of(tensor.role);
  }
}

TEST(MoeFfn, PlacesOfAnExpertAreRoundedUp) {
  Strategy strategy = small_strategy(small_moe());
  strategy.capacity_factor = 1.01;
  const Lowered lowered(small_moe(), strategy);
  EXPECT_EQ(lowered.shape<GroupedGemmShape>("moe.fc1", Pass::fwd).rows.count, 9 * 8);
}

TEST(MoeFfn, WithoutACapacityTheRouterDecidesTheSizes) {
  const Lowered lowered(small_moe(), small_strategy(small_moe(), 1, 2), 2);
  const auto shape = lowered.shape<GroupedGemmShape>("moe.fc1", Pass::fwd);
  EXPECT_EQ(shape.rows, (Rows{Rows::Kind::received, 64}));
  EXPECT_EQ(shape.num_experts, 4);
  EXPECT_EQ(shape.n, 2 * 32);
  EXPECT_EQ(shape.k, 64);
}

TEST(MoeFfn, AnEtpGroupComputesTheRowsOfAllItsRanks) {
  const Lowered lowered(small_moe(), with_etp(), 2);
  const auto fc1 = lowered.shape<GroupedGemmShape>("moe.fc1", Pass::fwd);
  EXPECT_EQ(fc1.rows, (Rows{Rows::Kind::gathered, 2 * 64}));
  EXPECT_EQ(fc1.n, 2 * 16);  // half the width, gate and up
  const auto fc2 = lowered.shape<GroupedGemmShape>("moe.fc2", Pass::fwd);
  EXPECT_EQ(fc2.n, 64);
  EXPECT_EQ(fc2.k, 16);
  EXPECT_EQ(lowered.tensor(R::expert_out).rows, (Rows{Rows::Kind::received, 64}));
}

TEST(MoeFfn, AnEtpGroupGathersRowsAndScattersSums) {
  const Lowered lowered(small_moe(), with_etp(), 2);
  const CollectiveShape there = lowered.collective("etp.gather", Pass::fwd);
  EXPECT_EQ(there.kind, CollectiveKind::all_gather);
  EXPECT_EQ(there.group, Group::etp);
  EXPECT_EQ(there.bytes, 0);  // the router decides
  EXPECT_EQ(there.rows, (Rows{Rows::Kind::gathered, 128}));
  EXPECT_EQ(there.row_bytes, 64 * 2 + 4);
  const CollectiveShape back = lowered.collective("etp.scatter", Pass::fwd);
  EXPECT_EQ(back.kind, CollectiveKind::reduce_scatter);
  EXPECT_EQ(back.row_bytes, 64 * 2);
  EXPECT_EQ(lowered.uses("etp.gather", Pass::fwd), "expert_in! expert_probs! +gathered_in +gathered_probs");
  EXPECT_EQ(lowered.uses("etp.scatter", Pass::fwd), "expert_part! +expert_out");
}

TEST(MoeFfn, TheGatheredGradientServesBothGradientsOfTheSecondProduct) {
  const Lowered lowered(small_moe(), with_etp(), 2);
  EXPECT_EQ(lowered.collective("etp.scatter", Pass::igrad).kind, CollectiveKind::all_gather);
  EXPECT_EQ(lowered.uses("moe.fc2", Pass::igrad), "d_expert_full +d_expert_act");
  EXPECT_EQ(lowered.uses("moe.fc2", Pass::wgrad), "expert_act! d_expert_full!");
  EXPECT_EQ(lowered.uses("etp.gather", Pass::igrad), "d_gathered_in! d_gathered_probs! +d_expert_in +d_expert_probs");
}

TEST(MoeFfn, WithACapacityEtpCollectivesHaveFixedBytes) {
  Strategy strategy = with_etp();
  strategy.capacity_factor = 1.0;
  const Lowered lowered(small_moe(), strategy, 2);
  const CollectiveShape there = lowered.collective("etp.gather", Pass::fwd);
  EXPECT_EQ(there.bytes, 2 * 64 * (64 * 2 + 4));
  EXPECT_EQ(there.row_bytes, 0);
}

TEST(MoeFfn, SharedExpertsRunBeforeTheRouter) {
  const Lowered lowered(with_shared(), small_strategy(with_shared(), 1, 2), 2);
  const std::string forward = lowered.of_layer(1, Pass::fwd);
  EXPECT_EQ(forward.substr(forward.find("moe.norm")),
            "moe.norm shared.fc1 shared.act shared.fc2 moe.router moe.permute moe.dispatch "
            "moe.fc1 moe.act moe.fc2 moe.combine moe.unpermute moe.residual");
}

TEST(MoeFfn, OverlappedSharedExpertsRunWhileRowsTravel) {
  Strategy strategy = small_strategy(with_shared(), 1, 2);
  strategy.overlap.shared_expert = true;
  const Lowered lowered(with_shared(), strategy, 2);
  const std::string forward = lowered.of_layer(1, Pass::fwd);
  EXPECT_EQ(forward.substr(forward.find("moe.norm")),
            "moe.norm moe.router moe.permute moe.dispatch shared.fc1 shared.act shared.fc2 "
            "moe.fc1 moe.act moe.fc2 moe.combine moe.unpermute moe.residual");
  const OpIndex travels = lowered.find("moe.dispatch", Pass::fwd);
  EXPECT_FALSE(lowered.waits_for(lowered.find("shared.fc1", Pass::fwd), travels));
  EXPECT_TRUE(lowered.waits_for(lowered.find("moe.fc1", Pass::fwd), travels));
}

TEST(MoeFfn, SharedExpertsAddToTheGradientThatTheRoutedOnesHaveMade) {
  const Lowered lowered(with_shared(), small_strategy(with_shared(), 1, 2), 2);
  EXPECT_EQ(lowered.uses("shared.fc1", Pass::igrad), "d_shared_fc1 ~d_norm2");
  EXPECT_EQ(lowered.uses("shared.fc2", Pass::igrad), "d_x +d_shared_act");
  EXPECT_EQ(lowered.uses("moe.residual", Pass::fwd, 1), "x_mid moe_out! shared_out! +x");
}

TEST(MoeFfn, AGatedSharedExpertKeepsItsOutputForTheGradientOfTheGate) {
  const Lowered lowered(with_shared(true), small_strategy(with_shared(true)));
  EXPECT_EQ(lowered.uses("shared.gate", Pass::fwd), "norm2 ~shared_out +shared_gate");
  EXPECT_EQ(lowered.uses("moe.residual", Pass::fwd, 1), "x_mid moe_out! shared_out +x");
  EXPECT_EQ(lowered.uses("shared.gate", Pass::igrad), "d_x shared_gate! shared_out! ~d_norm2 +d_shared_out");
}

TEST(MoeFfn, KeepsInFp8WhatActivationFunctionsTakeIfAsked) {
  Strategy strategy = small_strategy(with_shared(false));
  strategy.fp8_activation_input = true;
  strategy.fp8_recipe = Fp8Recipe::mxfp8;
  strategy.stages[0].recompute = {RecomputeModule::moe_act};
  const Lowered lowered(with_shared(false), strategy);
  EXPECT_EQ(lowered.uses("moe.act_quant", Pass::fwd), "expert_fc1! +expert_fc1_fp8");
  EXPECT_EQ(lowered.uses("moe.act", Pass::fwd), "expert_fc1_fp8 expert_probs +expert_act");
  EXPECT_EQ(lowered.uses("moe.act", Pass::rec), "expert_fc1_fp8 expert_probs +expert_act");
  EXPECT_EQ(lowered.uses("shared.act_quant", Pass::fwd), "shared_fc1! +shared_fc1_fp8");
  EXPECT_EQ(lowered.uses("shared.act", Pass::igrad), "shared_fc1_fp8! d_shared_act! +d_shared_fc1");
  const auto cast = lowered.shape<MemoryShape>("moe.act_quant", Pass::fwd);
  EXPECT_EQ(cast.read_per_row, 2 * lowered.shape<GroupedGemmShape>("moe.fc1", Pass::fwd).n);
  EXPECT_EQ(cast.written_per_row, lowered.shape<MemoryShape>("moe.act", Pass::fwd).read_per_row - 4) << "a probability";
}

TEST(MoeFfn, TheRouterMultipliesInF32UnderEveryPrecision) {
  for (const DType precision : {DType::bf16, DType::fp8}) {
    Strategy strategy = small_strategy(small_moe());
    strategy.precision = precision;
    strategy.fp8_recipe = Fp8Recipe::mxfp8;
    const Lowered lowered(small_moe(), strategy);
    EXPECT_EQ(lowered.shape<GemmShape>("moe.router", Pass::fwd).dtype, DType::f32);
    EXPECT_EQ(lowered.shape<GroupedGemmShape>("moe.fc1", Pass::fwd).dtype, precision);
  }
}

}  // namespace
}  // namespace orrery
