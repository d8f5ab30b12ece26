// SPDX-License-Identifier: Apache-2.0
#include "costmodel/layer_ops.h"

#include "program/hf_config.h"
#include "program/legality.h"
#include "program/lower.h"

#include <map>

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

using Ops = std::map<std::tuple<std::string, Pass, OpShape>, int>;

/// Without the FLOPs of memory-bound ops, which cost nothing.
OpShape plain(OpShape shape) {
  if (auto* memory = std::get_if<MemoryShape>(&shape)) memory->flops_per_row = 0;
  return shape;
}

Ops counted(const std::vector<LayerOp>& ops) {
  Ops counts;
  for (const LayerOp& op : ops) ++counts[{std::string(name_of(op.op)), op.pass, plain(op.shape)}];
  return counts;
}

/// Ops of the first micro-batch of a lowered program that belong to `layer` (or an end).
Ops lowered(const StepProgram& program, std::int16_t layer) {
  Ops counts;
  for (const RankClass& rank : program.classes) {
    for (const Op& op : rank.ops) {
      if (op.key.micro_batch != 0 || op.key.layer != layer) continue;
      ++counts[{std::string(name_of(op.key.op)), op.key.pass, plain(program.shapes[op.shape])}];
    }
  }
  return counts;
}

void expect_equal(const Ops& closed, const Ops& program, const std::string& where) {
  for (const auto& [op, count] : program) {
    const auto found = closed.find(op);
    EXPECT_TRUE(found != closed.end() && found->second == count)
        << where << ": lowered " << name_of(std::get<1>(op)) << '/' << std::get<0>(op);
  }
  EXPECT_EQ(closed.size(), program.size()) << where;
}

TEST(LayerOps, AreThoseThatTheLoweringEmits) {
  using R = RecomputeModule;
  int num_compared = 0;
  for (const char* file :
       {"catalog/models/deepseek-v3.json", "catalog/models/mixtral-8x7b.json", "catalog/models/qwen3-30b-a3b.json",
        "catalog/models/llama3-8b.json", "tests/data/models/qwen1.5-moe-a2.7b.json"}) {
    const Model model = read_model(std::string(ORRERY_SOURCE_DIR) + "/" + file);
    for (const std::set<R>& recompute : {std::set<R>{},
                                         {R::full},
                                         {R::layernorm, R::core_attn},
                                         {R::mla_up_proj},
                                         {R::mlp},
                                         {R::moe},
                                         {R::moe_act, R::shared_experts}}) {
      for (const std::int64_t ep : {1, 2}) {
        Strategy strategy;
        strategy.ep = ep;
        strategy.stages = even_stages(model.num_layers(), 1);
        strategy.stages[0].recompute = recompute;
        const BatchShape batch{.seq = 64, .global_batch = 2};
        if (!violations(model, strategy, batch, 2).empty()) continue;
        ++num_compared;
        const StepProgram program = lower(model, strategy, batch, 2);
        for (const std::int64_t layer : {std::int64_t{0}, model.num_layers() - 1}) {
          expect_equal(counted(layer_ops(model, strategy, batch, model.kind(layer), recompute)),
                       lowered(program, static_cast<std::int16_t>(layer)),
                       std::string(file) + " layer " + std::to_string(layer));
        }
        expect_equal(counted(embedding_ops(model, strategy, batch)), lowered(program, OpKey::kEmbed), file);
        expect_equal(counted(head_ops(model, strategy, batch)), lowered(program, OpKey::kHead), file);
      }
    }
  }
  EXPECT_GT(num_compared, 30);
}

}  // namespace
}  // namespace orrery::costmodel
