// SPDX-License-Identifier: Apache-2.0
#include "program/not_lowered.h"

#include "tests/unit/program/small_models.h"

#include <functional>

#include <gtest/gtest.h>

namespace orrery {
namespace {

using testing::small_moe;
using testing::small_strategy;

struct Refusal {
  const char* key;
  const char* expected;
  std::function<void(Strategy&)> change;
};

TEST(NotLowered, RefusesEachValueByName) {
  const std::vector<Refusal> refusals = {
      {"tp", "expected 1, got 2: tensor parallelism is not lowered yet", [](Strategy& s) { s.tp = 2; }},
      {"cp", "expected 1, got 2: context parallelism is not lowered yet", [](Strategy& s) { s.cp = 2; }},
      {"etp", "expected 1, got 2: tensor parallelism of experts is not lowered yet", [](Strategy& s) { s.etp = 2; }},
      {"num_optimizer_instances", "expected 1, got 2: hybrid sharding is not lowered yet",
       [](Strategy& s) { s.num_optimizer_instances = 2; }},
      {"zero_dense", "expected 0 or 1, got 2: sharded gradients and weights are not lowered yet",
       [](Strategy& s) { s.zero_dense = 2; }},
      {"zero_expert", "expected 0 or 1, got 3: sharded gradients and weights are not lowered yet",
       [](Strategy& s) { s.zero_expert = 3; }},
      {"dispatcher", "expected \"all_to_all\", got \"two_level\": other dispatchers are not lowered yet",
       [](Strategy& s) { s.dispatcher = Dispatcher::two_level; }},
      {"capacity_factor", "expected null, got 1.25: dropping tokens is not lowered yet",
       [](Strategy& s) { s.capacity_factor = 1.25; }},
      {"overlap/dp_buckets", "expected false, got true: overlap of gradient buckets is not lowered yet",
       [](Strategy& s) { s.overlap.dp_buckets = true; }},
      {"overlap/tp", "expected false, got true: overlap of tensor parallelism is not lowered yet",
       [](Strategy& s) { s.overlap.tp = true; }},
      {"overlap/ep_batch_level", "expected false, got true: overlap of micro-batches is not lowered yet",
       [](Strategy& s) { s.overlap.ep_batch_level = true; }},
      {"overlap/shared_expert", "expected false, got true: overlap of the shared expert is not lowered yet",
       [](Strategy& s) { s.overlap.shared_expert = true; }},
      {"cuda_graphs", "expected false, got true: CUDA graphs are not lowered yet",
       [](Strategy& s) { s.cuda_graphs = true; }},
      {"offload_optimizer", "expected false, got true: offload is not lowered yet",
       [](Strategy& s) { s.offload_optimizer = true; }},
      {"offload_activations", "expected false, got true: offload is not lowered yet",
       [](Strategy& s) { s.offload_activations = true; }},
      {"precision", "expected \"f32\" or \"bf16\", got \"fp8\": fp8 is not lowered yet",
       [](Strategy& s) { s.precision = DType::fp8; }},
      {"optimizer", "expected \"adamw\", got \"muon\": Muon is not lowered yet",
       [](Strategy& s) { s.optimizer = OptimizerKind::muon; }},
      {"master_dtype", "expected \"f32\", got \"bf16\": other types of master weights are not lowered yet",
       [](Strategy& s) { s.master_dtype = DType::bf16; }},
      {"moment_dtype", "expected \"f32\", got \"bf16\": other types of moments are not lowered yet",
       [](Strategy& s) { s.moment_dtype = DType::bf16; }},
      {"grad_dtype", "expected \"f32\", got \"bf16\": other types of gradients are not lowered yet",
       [](Strategy& s) { s.grad_dtype = DType::bf16; }},
      {"grad_wire_dtype", "expected \"f32\", got \"bf16\": other types of gradient messages are not lowered yet",
       [](Strategy& s) { s.grad_wire_dtype = DType::bf16; }},
      {"mtp", "expected \"off\", got \"on\": multi-token prediction is not lowered yet",
       [](Strategy& s) { s.mtp = Mtp::on; }},
      {"order", "expected \"tp-cp-ep-dp-pp\", got \"pp-dp\": other rank orders are not lowered yet",
       [](Strategy& s) { s.order = "pp-dp"; }},
  };
  const Model model = small_moe();
  for (const Refusal& refusal : refusals) {
    SCOPED_TRACE(refusal.expected);
    Strategy strategy = small_strategy(model);
    refusal.change(strategy);
    const std::vector<Violation> found = not_lowered(model, strategy);
    ASSERT_EQ(found.size(), 1);
    EXPECT_EQ(found[0].key, refusal.key);
    EXPECT_EQ(found[0].expected, refusal.expected);
  }
}

TEST(NotLowered, AcceptsBiasesSinksAndOtherNorms) {
  Model model = small_moe();
  auto& attention = std::get<GroupedQueryAttention>(model.attention);
  attention.qkv_bias = attention.out_bias = attention.sinks = true;
  model.moe->router_bias = model.moe->expert_bias = model.moe->scale_input = true;
  model.norm = NormKind::layer;
  model.mlp_bias = model.norm_bias = model.learned_positions = true;
  EXPECT_TRUE(not_lowered(model, small_strategy(model)).empty());
}

TEST(NotLowered, RefusesATiedHeadOnAnotherStageThanTheEmbedding) {
  Model model = small_moe();
  model.tied_embeddings = true;
  EXPECT_TRUE(not_lowered(model, small_strategy(model, 1)).empty());
  const std::vector<Violation> found = not_lowered(model, small_strategy(model, 2));
  ASSERT_EQ(found.size(), 1);
  EXPECT_EQ(found[0].key, "pp");
  EXPECT_EQ(found[0].expected, "expected 1, got 2: a head tied to the embedding of another stage is not lowered yet");
}

}  // namespace
}  // namespace orrery
