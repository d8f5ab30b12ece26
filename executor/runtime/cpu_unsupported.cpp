// SPDX-License-Identifier: Apache-2.0
#include "executor/runtime/rank_runtime.h"
#include "executor/runtime/reproducible.h"
#include "program/counts.h"
#include "program/strategy.h"
#include "program/verify.h"

#include <algorithm>
#include <string>
#include <vector>

#include <fmt/format.h>

namespace orrery::executor {
namespace {

using Reasons = std::vector<std::string>;

void add_reasons(const Model& model, Reasons& reasons) {
  if (const auto* gqa = std::get_if<GroupedQueryAttention>(&model.attention)) {
    if (gqa->qk_norm && gqa->qk_norm_kind == QkNorm::unweighted) {
      reasons.push_back("the CPU executor normalises queries and keys with a weight");
    }
  }
  if (!model.gated || model.activation != Activation::silu) reasons.push_back("the CPU executor has SwiGLU only");
  if (model.norm != NormKind::rms || model.norm_bias) reasons.push_back("the CPU executor has RMSNorm only");
  if (model.learned_positions) reasons.push_back("the CPU executor has rotary positions only");
  if (model.moe && model.moe->scale_input) {
    reasons.push_back("the CPU executor scales what leaves an expert, not what enters it");
  }
}

void add_reasons(const Strategy& s, Reasons& reasons) {
  const auto refuse = [&](bool condition, std::string_view what) {
    if (condition) reasons.push_back(fmt::format("the CPU executor has no {}", what));
  };
  refuse(s.cuda_graphs, "CUDA graphs");
  refuse(s.fp8_activation_input, "fp8 to keep inputs of activation functions in");
  refuse(s.optimizer == OptimizerKind::muon && s.offload_optimizer && s.zero_dense + s.zero_expert > 0,
         "offload of Muon's states with ZeRO: whole matrices are dealt, and ranks hold different shares of them");
  refuse(s.master_dtype != DType::f32 || s.moment_dtype != DType::f32, "optimizer states but in f32");
  if (s.grad_dtype == DType::i64) {
    for (const std::string& reason : why_not_reproducible(s)) {
      reasons.push_back("the CPU executor has gradients in whole numbers where no layout changes their terms: " +
                        reason);
    }
  }
  if (s.precision != DType::f32 && s.precision != DType::bf16) {
    reasons.push_back(fmt::format("the CPU executor computes in f32 or bf16, not in {}", name_of(s.precision)));
  }
}

/// What a program communicates too little for.
void add_reasons(const StepProgram& program, Reasons& reasons) {
  const Model& model = program.model;
  const Strategy& s = program.strategy;
  const auto* gqa = std::get_if<GroupedQueryAttention>(&model.attention);
  if (gqa != nullptr && s.tp > gqa->num_kv_heads && !s.sp) {
    reasons.push_back(fmt::format(
        "the CPU executor has at most {} tensor-parallel ranks without sequence parallelism, one for each key-value "
        "head: nobody sums the gradients of copies, got {}",
        gqa->num_kv_heads, s.tp));
  }
  if (gqa != nullptr && gqa->qk_norm && gqa->qk_norm_kind == QkNorm::whole && s.tp > 1) {
    reasons.push_back("the CPU executor normalises queries and keys over the heads of one rank: over those of all " +
                      fmt::format("{} tensor-parallel ranks nobody sums their squares", s.tp));
  }
  if (num_mtp_modules(model, s.mtp) > 0 && s.stages.back().num_mtp == 0) {
    reasons.push_back("the CPU executor has the modules of multi-token prediction on the stage of the head only");
  }
}

}  // namespace

std::vector<std::string> cpu_unsupported(const StepProgram& program) {
  Reasons reasons;
  add_reasons(program.model, reasons);
  add_reasons(program.strategy, reasons);
  add_reasons(program, reasons);
  // Ranks that run an unsound program wait for each other in vain.
  for (const std::string& problem : verify(program)) reasons.push_back("the program is not sound: " + problem);
  return reasons;
}

}  // namespace orrery::executor
