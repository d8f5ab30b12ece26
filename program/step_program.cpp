// SPDX-License-Identifier: Apache-2.0
#include "program/step_program.h"

#include "base/check.h"
#include "base/sha256.h"
#include "program/work.h"

#include <array>
#include <string_view>

namespace orrery {
namespace {

constexpr std::array<std::string_view, kNumTensorRoles> kRoleNames = {
    "tokens",
    "labels",
    "x",
    "norm1",
    "q_latent",
    "q_latent_norm",
    "q",
    "kv_latent",
    "kv_latent_norm",
    "kv_up",
    "kv",
    "qkv",
    "qk",
    "attn_out",
    "lse",
    "proj",
    "x_mid",
    "norm2",
    "fc1",
    "act",
    "ffn_out",
    "scores",
    "choices",
    "send_rows",
    "send_probs",
    "expert_in",
    "expert_probs",
    "expert_fc1",
    "expert_act",
    "expert_out",
    "combined_rows",
    "moe_out",
    "shared_fc1",
    "shared_act",
    "shared_out",
    "shared_gate",
    "head_norm",
    "logits",
    "softmax",
    "d_x",
    "d_norm1",
    "d_q_latent",
    "d_q_latent_norm",
    "d_q",
    "d_kv_latent",
    "d_kv_latent_norm",
    "d_kv_up",
    "d_kv",
    "d_qkv",
    "d_attn_out",
    "d_x_mid",
    "d_norm2",
    "d_fc1",
    "d_act",
    "d_router_logits",
    "d_probs",
    "d_send_rows",
    "d_send_probs",
    "d_expert_in",
    "d_expert_probs",
    "d_expert_fc1",
    "d_expert_act",
    "d_expert_out",
    "d_combined_rows",
    "d_shared_fc1",
    "d_shared_act",
    "d_shared_out",
    "d_head_norm",
    "d_logits",
    "norm1_full",
    "q_latent_full",
    "kv_latent_full",
    "k_rope_full",
    "ring_kv",
    "ring_kv_next",
    "kv_full",
    "core_in",
    "core_out",
    "attn_operand",
    "proj_part",
    "norm2_full",
    "ffn_part",
    "shared_full",
    "shared_part",
    "recv_rows",
    "recv_scores",
    "recv_probs",
    "recv_choices",
    "gathered_in",
    "gathered_probs",
    "expert_part",
    "back_rows",
    "embed_part",
    "head_full",
    "mtp_tokens",
    "mtp_embed",
    "mtp_part",
    "mtp_pair",
    "logits_max",
    "d_proj",
    "d_norm1_part",
    "d_q_latent_part",
    "d_kv_latent_part",
    "d_k_rope_part",
    "ring_dkv_part",
    "ring_dkv",
    "d_kv_full",
    "d_core_in",
    "d_core_out",
    "d_ffn_out",
    "d_norm2_part",
    "d_shared_full",
    "d_shared_part",
    "d_back_rows",
    "d_recv_rows",
    "d_recv_probs",
    "d_expert_full",
    "d_gathered_probs",
    "d_gathered_in",
    "d_embed",
    "d_head_part",
    "d_mtp_pair",
    "d_mtp_embed",
    "grad_bucket",
    "expert_grad_bucket",
    "wire_grads",
    "expert_wire_grads",
    "layer_weights",
    "expert_layer_weights",
    "optimizer_states",
    "fc1_fp8",
    "expert_fc1_fp8",
    "shared_fc1_fp8",
};

/// Hashes plain values, a block at a time.
class ValueHash {
 public:
  template <class... Values>
  void add(Values... values) {
    (add_one(static_cast<std::int64_t>(values)), ...);
  }
  template <class T>
  void add_all(std::span<const T> values) {
    flush();
    hash_.update(values);
  }
  std::string hex() {
    flush();
    return hash_.hex();
  }

 private:
  void add_one(std::int64_t value) {
    block_.append(reinterpret_cast<const char*>(&value), sizeof(value));
    if (block_.size() >= kBlock) flush();
  }
  void flush() {
    hash_.update(block_);
    block_.clear();
  }
  static constexpr std::size_t kBlock = 1 << 16;
  Sha256 hash_;
  std::string block_;
};

struct AddShape {
  ValueHash& out;
  void rows(const Rows& r) const { out.add(r.kind, r.count); }
  void operator()(const GemmShape& s) const { out.add(0, s.m, s.n, s.k, s.dtype, s.accumulate); }
  void operator()(const GroupedGemmShape& s) const {
    rows(s.rows);
    out.add(1, s.num_experts, s.n, s.k, s.dtype, s.accumulate);
  }
  void operator()(const AttentionShape& s) const {
    out.add(2, s.batch, s.heads, s.kv_heads, s.seq, s.kv_seq, s.d_qk, s.d_v, s.causal, s.window, s.chunked, s.dtype);
  }
  void operator()(const MemoryShape& s) const {
    rows(s.rows);
    out.add(3, s.read_per_row, s.written_per_row, s.flops_per_row);
  }
  void operator()(const CollectiveShape& s) const {
    rows(s.rows);
    out.add(4, s.kind, s.group, s.bytes, s.row_bytes);
  }
  void operator()(const ExchangeShape& s) const {
    rows(s.rows);
    out.add(5, s.row_bytes, s.count_bytes, s.group, s.to_experts, s.two_level, s.top_k);
    if (s.num_groups > 1) out.add(s.num_groups, s.top_k_groups);
  }
  void operator()(const PeerShape& s) const { out.add(6, s.bytes, s.peer, s.send); }
  void operator()(const CopyShape& s) const {
    rows(s.rows);
    out.add(7, s.bytes, s.row_bytes, s.to_host);
  }
};

/// Both halves of an op that are not its shape, in one word each.
std::int64_t position_word(const OpKey& key) {
  return std::int64_t{key.micro_batch} << 32 | std::int64_t{static_cast<std::uint16_t>(key.stage)} << 16 |
         std::int64_t{static_cast<std::uint16_t>(key.layer)};
}
std::int64_t kind_word(const Op& op) {
  return std::int64_t{static_cast<std::uint16_t>(op.key.bucket)} << 24 | static_cast<std::int64_t>(op.key.pass) << 16 |
         static_cast<std::int64_t>(op.key.op) << 8 | static_cast<std::int64_t>(op.queue);
}

void add_class(const RankClass& c, ValueHash& out) {
  out.add(c.pipeline_rank, c.ops.size(), c.deps.size(), c.uses.size(), c.tensors.size());
  for (const Op& op : c.ops) out.add(position_word(op.key), kind_word(op), op.shape);
  out.add_all(std::span<const std::uint32_t>(c.dep_begin));
  out.add_all(std::span<const OpIndex>(c.deps));
  out.add_all(std::span<const std::uint32_t>(c.use_begin));
  out.add_all(std::span<const TensorUse>(c.uses));
  for (const Tensor& t : c.tensors) {
    out.add(static_cast<std::int64_t>(t.role) << 8 | static_cast<std::int64_t>(t.dtype),
            position_word({.micro_batch = t.micro_batch, .layer = t.layer}),
            static_cast<std::int64_t>(t.rows.kind) << 56 | t.rows.count, t.width);
  }
}

}  // namespace

std::string_view name_of(TensorRole role) { return kRoleNames.at(static_cast<std::size_t>(role)); }

RankView StepProgram::view(RankId rank) const {
  const Coords coords = mesh.coords(rank);
  return {.rank = rank, .program_class = ClassId(static_cast<std::int32_t>(coords.pp)), .coords = coords};
}

const RankClass& StepProgram::class_of(RankId rank) const {
  return classes[static_cast<std::size_t>(view(rank).program_class.value())];
}

std::int64_t StepProgram::num_ops() const {
  std::int64_t count = 0;
  for (const RankClass& c : classes) count += static_cast<std::int64_t>(c.ops.size());
  return count;
}

std::string hash_of(const StepProgram& program) {
  ValueHash out;
  out.add(program.mesh.world(), program.mesh.ep(), program.mesh.pp(), program.batch.seq, program.batch.global_batch,
          program.num_micro_batches);
  for (const OpShape& shape : program.shapes) std::visit(AddShape{out}, shape);
  for (const RankClass& c : program.classes) add_class(c, out);
  for (const auto& [layer, experts] : program.experts.layers) {
    out.add(layer, experts.size());
    for (const std::int32_t expert : experts) out.add(expert);
  }
  return out.hex();
}

double bytes_of(const Tensor& tensor, double received) {
  return resolve(tensor.rows, {.rows_per_expert = {}, .received = received}) * static_cast<double>(tensor.width) *
         static_cast<double>(size_of(tensor.dtype));
}

}  // namespace orrery
