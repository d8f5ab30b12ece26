// SPDX-License-Identifier: Apache-2.0
#include "executor/runtime/rank_runtime.h"
#include "program/strategy.h"

#include <string>
#include <vector>

#include <fmt/format.h>

namespace orrery::executor {
namespace {

void add_reasons(const Model& model, std::vector<std::string>& reasons) {
  if (model.is_mla()) reasons.push_back("the CPU executor has no multi-head latent attention");
  if (const auto* gqa = std::get_if<GroupedQueryAttention>(&model.attention)) {
    if (gqa->qkv_bias) reasons.push_back("the CPU executor has no bias on queries, keys and values");
    if (gqa->out_bias) reasons.push_back("the CPU executor has no bias on the output of attention");
    if (gqa->sinks) reasons.push_back("the CPU executor has no attention sinks");
    if (gqa->qk_norm && gqa->qk_norm_kind != QkNorm::per_head) {
      reasons.push_back("the CPU executor normalises queries and keys by head, with a weight");
    }
  }
  if (!model.spans.empty()) reasons.push_back("the CPU executor has no attention within a window");
  if (!model.gated || model.activation != Activation::silu) reasons.push_back("the CPU executor has SwiGLU only");
  if (model.mlp_bias) reasons.push_back("the CPU executor has no biases in the feed-forward");
  if (model.norm != NormKind::rms || model.norm_bias) reasons.push_back("the CPU executor has RMSNorm only");
  if (model.learned_positions) reasons.push_back("the CPU executor has rotary positions only");
  if (model.moe) {
    if (model.moe->shared_expert_gate) reasons.push_back("the CPU executor has no gate on the shared expert");
    if (model.moe->num_groups > 1) reasons.push_back("the CPU executor has no group-limited routing");
    if (model.moe->router_bias) reasons.push_back("the CPU executor has no trained bias in the router");
    if (model.moe->expert_bias) reasons.push_back("the CPU executor has no biases in the experts");
    if (model.moe->scale_input) reasons.push_back("the CPU executor scales what leaves an expert, not what enters it");
  }
}

void add_reasons(const Strategy& s, std::vector<std::string>& reasons) {
  const auto refuse = [&](bool condition, std::string_view what) {
    if (condition) reasons.push_back(fmt::format("the CPU executor has no {}", what));
  };
  refuse(s.tp > 1, "tensor parallelism");
  refuse(s.cp > 1, "context parallelism");
  refuse(s.etp > 1, "tensor parallelism of experts");
  refuse(s.zero_dense > 1 || s.zero_expert > 1, "sharded gradients and weights (ZeRO 2 and 3)");
  refuse(s.num_optimizer_instances > 1, "hybrid sharding");
  refuse(s.dispatcher != Dispatcher::all_to_all, "dispatcher but all_to_all");
  refuse(s.capacity_factor.has_value(), "capacity of experts");
  refuse(s.overlap != Overlap(), "overlap of communication and arithmetic");
  refuse(s.offload_optimizer || s.offload_activations, "offload to a host");
  refuse(s.cuda_graphs, "CUDA graphs");
  refuse(s.optimizer != OptimizerKind::adamw, "optimizer but AdamW");
  refuse(s.mtp != Mtp::off, "multi-token prediction");
  refuse(s.master_dtype != DType::f32 || s.moment_dtype != DType::f32, "optimizer states but in f32");
  refuse(s.grad_dtype != DType::f32 || s.grad_wire_dtype != DType::f32, "gradients but in f32");
  if (s.schedule != Schedule::gpipe && s.schedule != Schedule::one_f_one_b) {
    reasons.push_back(fmt::format("the CPU executor runs the schedules gpipe and 1f1b, not {}", name_of(s.schedule)));
  }
  if (s.vpp != 1) reasons.push_back(fmt::format("the CPU executor has one stage on each rank, not {}", s.vpp));
  if (s.precision != DType::f32 && s.precision != DType::bf16) {
    reasons.push_back(fmt::format("the CPU executor computes in f32 or bf16, not in {}", name_of(s.precision)));
  }
}

}  // namespace

std::vector<std::string> cpu_unsupported(const StepProgram& program) {
  std::vector<std::string> reasons;
  add_reasons(program.model, reasons);
  add_reasons(program.strategy, reasons);
  if (program.model.tied_embeddings && program.strategy.pp > 1) {
    reasons.push_back("the CPU executor has no head tied to the embedding of another stage");
  }
  return reasons;
}

}  // namespace orrery::executor
