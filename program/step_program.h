// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "program/expert_placement.h"
#include "program/mesh.h"
#include "program/model.h"
#include "program/op.h"
#include "program/strategy.h"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

// The one program that all interpreters run: the ops of a training step in the order in which each rank's host
// enqueues them, with the dependencies between queues and the tensors that ops create, use and release.
// It fixes order and nothing else: how long an op takes is the interpreter's business.
//
// Ranks that do the same share a RankClass (one per pipeline rank); a rank itself is only a RankView. Groups and
// peers are slots, so a class holds for 8 ranks as for 16384.

namespace orrery {

using OpIndex = std::uint32_t;      // into RankClass::ops
using TensorIndex = std::uint32_t;  // into RankClass::tensors
using ClassId = Id<struct ClassTag>;

/// What a tensor is; with layer and micro-batch this names it. Gradients are named after what they are gradient of.
enum class TensorRole : std::uint8_t {
  tokens,
  labels,
  x,
  norm1,
  q_latent,
  q_latent_norm,
  q,
  kv_latent,
  kv_latent_norm,
  kv_up,
  kv,
  qkv,
  qk,
  attn_out,
  lse,
  proj,
  x_mid,
  norm2,
  fc1,
  act,
  ffn_out,
  scores,
  choices,
  send_rows,
  send_probs,
  expert_in,
  expert_probs,
  expert_fc1,
  expert_act,
  expert_out,
  combined_rows,
  moe_out,
  shared_fc1,
  shared_act,
  shared_out,
  shared_gate,
  head_norm,
  logits,
  softmax,
  d_x,
  d_norm1,
  d_q_latent,
  d_q_latent_norm,
  d_q,
  d_kv_latent,
  d_kv_latent_norm,
  d_kv_up,
  d_kv,
  d_qkv,
  d_attn_out,
  d_x_mid,
  d_norm2,
  d_fc1,
  d_act,
  d_router_logits,
  d_probs,
  d_send_rows,
  d_send_probs,
  d_expert_in,
  d_expert_probs,
  d_expert_fc1,
  d_expert_act,
  d_expert_out,
  d_combined_rows,
  d_shared_fc1,
  d_shared_act,
  d_shared_out,
  d_head_norm,
  d_logits,
  // With tensor, context and expert tensor parallelism: whole sequences, partial sums, what travels.
  norm1_full,
  q_latent_full,
  kv_latent_full,
  k_rope_full,
  ring_kv,
  ring_kv_next,
  kv_full,
  core_in,
  core_out,
  attn_operand,
  proj_part,
  norm2_full,
  ffn_part,
  shared_full,
  shared_part,
  recv_rows,
  recv_scores,
  recv_probs,
  recv_choices,
  gathered_in,
  gathered_probs,
  expert_part,
  back_rows,
  embed_part,
  head_full,
  mtp_tokens,
  mtp_embed,
  mtp_part,
  mtp_pair,
  logits_max,
  d_proj,
  d_norm1_part,
  d_q_latent_part,
  d_kv_latent_part,
  d_k_rope_part,
  ring_dkv_part,
  ring_dkv,
  d_kv_full,
  d_core_in,
  d_core_out,
  d_ffn_out,
  d_norm2_part,
  d_shared_full,
  d_shared_part,
  d_back_rows,
  d_recv_rows,
  d_recv_probs,
  d_expert_full,
  d_gathered_probs,
  d_gathered_in,
  d_embed,
  d_head_part,
  d_mtp_pair,
  d_mtp_embed,
  grad_bucket,
  expert_grad_bucket,
  wire_grads,
  expert_wire_grads,
  layer_weights,
  expert_layer_weights,
  optimizer_states,
  fc1_fp8,  // what activation functions take, if that is kept in fp8
  expert_fc1_fp8,
  shared_fc1_fp8,
};
inline constexpr int kNumTensorRoles = static_cast<int>(TensorRole::shared_fc1_fp8) + 1;

std::string_view name_of(TensorRole role);

/// A matrix of rows x width elements that lives from the op that creates it to the op that releases it.
struct Tensor {
  TensorRole role = TensorRole::x;
  DType dtype = DType::bf16;
  std::int16_t layer = OpKey::kNoLayer;
  std::int32_t micro_batch = 0;
  Rows rows;
  std::int64_t width = 0;  // elements per row
};

enum class Access : std::uint32_t { read, create, modify };

/// One use of a tensor by an op, in 32 bits. `releases`: after this op the memory is free.
class TensorUse {
 public:
  TensorUse(TensorIndex tensor, Access access) : bits_(tensor | static_cast<std::uint32_t>(access) << 28) {}

  TensorIndex tensor() const { return bits_ & ((1u << 28) - 1); }
  Access access() const { return static_cast<Access>(bits_ >> 28 & 3u); }
  bool releases() const { return bits_ >> 30 != 0; }
  void set_releases() { bits_ |= 1u << 30; }

 private:
  std::uint32_t bits_;
};

/// The ranks of one pipeline rank: one list of ops for all of them.
struct RankClass {
  std::int64_t pipeline_rank = 0;
  std::vector<std::int64_t> stages;  // virtual stages, in chunk order

  std::vector<Op> ops;  // in host enqueue order
  /// Dependencies across queues: op i waits for ends of deps[dep_begin[i] .. dep_begin[i+1]). Order within a queue
  /// is implied. All refer to earlier ops of the same rank.
  std::vector<std::uint32_t> dep_begin;
  std::vector<OpIndex> deps;
  /// Tensors of op i: uses[use_begin[i] .. use_begin[i+1]), outputs after inputs, in the order of docs/design/ops.md.
  std::vector<std::uint32_t> use_begin;
  std::vector<TensorUse> uses;
  std::vector<Tensor> tensors;

  std::span<const OpIndex> deps_of(OpIndex op) const {
    return std::span(deps).subspan(dep_begin[op], dep_begin[op + 1] - dep_begin[op]);
  }
  std::span<const TensorUse> uses_of(OpIndex op) const {
    return std::span(uses).subspan(use_begin[op], use_begin[op + 1] - use_begin[op]);
  }
};

/// One rank of the program.
struct RankView {
  RankId rank;
  ClassId program_class;
  Coords coords;
};

/// Sizes of the work of one step.
struct BatchShape {
  std::int64_t seq = 0;           // tokens per sequence
  std::int64_t global_batch = 0;  // sequences per step
  bool operator==(const BatchShape&) const = default;
};

struct StepProgram {
  Model model;
  Strategy strategy;
  BatchShape batch;
  Mesh mesh;
  ExpertPlacement experts = {};        // which of them a rank has; no op depends on it
  std::int64_t num_micro_batches = 0;  // per pipeline and step
  std::vector<OpShape> shapes;
  std::vector<RankClass> classes;  // indexed by pipeline rank

  RankView view(RankId rank) const;
  const RankClass& class_of(RankId rank) const;
  /// Ops of one replica: the sum over the classes.
  std::int64_t num_ops() const;
};

/// Text that is equal for equal programs: sha256 over classes, shapes, mesh, batch and placed experts.
std::string hash_of(const StepProgram& program);

/// Bytes of a tensor when `received` rows arrive at this rank's experts (ignored for other tensors).
double bytes_of(const Tensor& tensor, double received);

}  // namespace orrery
