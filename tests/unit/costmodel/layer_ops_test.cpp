// SPDX-License-Identifier: Apache-2.0
#include "costmodel/layer_ops.h"

#include "program/counts.h"
#include "program/hf_config.h"
#include "program/legality.h"
#include "program/lower.h"
#include "tests/unit/costmodel/varied_cases.h"

#include <map>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

using Ops = std::map<std::tuple<std::string, Pass, OpShape>, std::int64_t>;

/// Without the FLOPs of memory-bound ops, which cost nothing.
OpShape plain(OpShape shape) {
  if (auto* memory = std::get_if<MemoryShape>(&shape)) memory->flops_per_row = 0;
  return shape;
}

Ops counted(const std::vector<LayerOp>& ops) {
  Ops counts;
  for (const LayerOp& op : ops) counts[{std::string(name_of(op.op)), op.pass, plain(op.shape)}] += op.count;
  return counts;
}

/// Ops of the first micro-batch of a lowered program that belong to `layer` (or an end), without what sharding and
/// offloading add to it.
Ops lowered(const StepProgram& program, std::int64_t layer) {
  Ops counts;
  for (const RankClass& rank : program.classes) {
    for (const Op& op : rank.ops) {
      if (op.key.micro_batch != 0 || op.key.layer != layer) continue;
      if (op.queue == Queue::dp || op.queue == Queue::edp || op.queue == Queue::copy) continue;
      ++counts[{std::string(name_of(op.key.op)), op.key.pass, plain(program.shapes[op.shape])}];
    }
  }
  return counts;
}

void expect_equal(const Ops& closed, const Ops& program, const std::string& where) {
  for (const auto& [op, count] : program) {
    const auto found = closed.find(op);
    EXPECT_TRUE(found != closed.end() && found->second == count)
        << where << ": lowered " << count << " times " << name_of(std::get<1>(op)) << '/' << std::get<0>(op);
  }
  EXPECT_EQ(closed.size(), program.size()) << where;
}

void append(std::vector<LayerOp> more, std::vector<LayerOp>& ops) { ops.insert(ops.end(), more.begin(), more.end()); }

/// Both halves of a layer, with what runs again.
std::vector<LayerOp> ops_of_layer(const StepProgram& program, std::int64_t layer,
                                  const std::set<RecomputeModule>& recompute) {
  const Model& model = program.model;
  const LayerKind kind = model.kind(layer);
  std::vector<LayerOp> ops = attention_ops(model, program.strategy, program.batch, model.span(layer));
  append(feed_forward_ops(model, program.strategy, program.batch, kind), ops);
  std::vector<LayerOp> again;
  for (const LayerOp& op : ops) {
    if (op.pass != Pass::fwd || !runs_again(recompute, op.part, kind)) continue;
    again.push_back(op);
    again.back().pass = Pass::rec;
  }
  append(std::move(again), ops);
  return ops;
}

/// Compares every layer, prediction module and end of `program`.
void expect_equal_ops(const StepProgram& program, const std::string& where) {
  const Model& model = program.model;
  const Strategy& s = program.strategy;
  const std::int64_t num_mtp = num_mtp_modules(model, s.mtp);
  for (const StageLayout& stage : s.stages) {
    for (std::int64_t i = 0; i < stage.num_layers + stage.num_mtp; ++i) {
      const bool is_module = i >= stage.num_layers;
      const std::int64_t layer = is_module ? model.num_layers() + i - stage.num_layers : stage.first_layer + i;
      const bool recomputes =
          is_module ? !stage.num_recompute_layers : i < stage.num_recompute_layers.value_or(stage.num_layers);
      std::vector<LayerOp> ops =
          ops_of_layer(program, layer, recomputes ? stage.recompute : std::set<RecomputeModule>{});
      if (is_module) {
        append(mtp_ops(model, s, program.batch, !stage.head), ops);
        // Behind a module whose hidden states the next module uses as well, the head adds to that one's gradient.
        append(head_ops(model, s, program.batch, stage.head && layer + 1 < model.num_layers() + num_mtp), ops);
      }
      expect_equal(counted(ops), lowered(program, layer), where + " layer " + std::to_string(layer));
    }
  }
  expect_equal(counted(embedding_ops(model, s, program.batch)), lowered(program, OpKey::kEmbed), where);
  expect_equal(counted(head_ops(model, s, program.batch, s.stages.back().num_mtp > 0)), lowered(program, OpKey::kHead),
               where);
}

TEST(LayerOps, AreThoseThatTheLoweringEmits) {
  using R = RecomputeModule;
  int num_compared = 0;
  for (const char* file : {"catalog/models/deepseek-v3.json", "catalog/models/mixtral-8x7b.json",
                           "catalog/models/qwen3-30b-a3b.json", "catalog/models/llama3-8b.json",
                           "catalog/models/gpt-oss-120b.json", "tests/data/models/qwen1.5-moe-a2.7b.json"}) {
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
        expect_equal_ops(lower(model, strategy, batch, 2), file);
      }
    }
  }
  EXPECT_GT(num_compared, 30);
}

TEST(LayerOps, AreThoseThatTheLoweringEmitsForRandomStrategies) {
  testing::for_varied_cases(1000, [](const testing::RandomCase& c, std::uint64_t index) {
    if (::testing::Test::HasFailure()) return;  // one case says enough
    expect_equal_ops(lower(c.model, c.strategy, c.batch, c.num_devices), "case " + std::to_string(index));
  });
}

}  // namespace
}  // namespace orrery::costmodel
