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
};

/// Collects plain values into text that is equal exactly when they are.
class HashText {
 public:
  template <class... Values>
  void add(Values... values) {
    (add_one(static_cast<std::int64_t>(values)), ...);
  }
  const std::string& text() const { return text_; }

 private:
  void add_one(std::int64_t value) { text_.append(reinterpret_cast<const char*>(&value), sizeof(value)); }
  std::string text_;
};

struct AddShape {
  HashText& out;
  void rows(const Rows& r) const { out.add(r.kind, r.count); }
  void operator()(const GemmShape& s) const { out.add(0, s.m, s.n, s.k, s.dtype, s.accumulate); }
  void operator()(const GroupedGemmShape& s) const {
    rows(s.rows);
    out.add(1, s.num_experts, s.n, s.k, s.dtype, s.accumulate);
  }
  void operator()(const AttentionShape& s) const {
    out.add(2, s.batch, s.heads, s.kv_heads, s.seq, s.d_qk, s.d_v, s.causal, s.window, s.dtype);
  }
  void operator()(const MemoryShape& s) const {
    rows(s.rows);
    out.add(3, s.read_per_row, s.written_per_row, s.flops_per_row);
  }
  void operator()(const CollectiveShape& s) const { out.add(4, s.kind, s.group, s.bytes); }
  void operator()(const ExchangeShape& s) const {
    rows(s.rows);
    out.add(5, s.row_bytes, s.count_bytes, s.group, s.to_experts);
  }
  void operator()(const PeerShape& s) const { out.add(6, s.bytes, s.peer, s.send); }
};

void add_class(const RankClass& c, HashText& out) {
  out.add(c.pipeline_rank, c.ops.size(), c.deps.size(), c.uses.size(), c.tensors.size());
  for (const Op& op : c.ops) {
    out.add(op.key.micro_batch, op.key.stage, op.key.layer, op.key.pass, op.key.op, op.key.bucket, op.queue, op.shape);
  }
  for (const std::uint32_t begin : c.dep_begin) out.add(begin);
  for (const OpIndex dep : c.deps) out.add(dep);
  for (const TensorUse& use : c.uses) out.add(use.tensor(), use.access(), use.releases());
  for (const Tensor& t : c.tensors)
    out.add(t.role, t.dtype, t.layer, t.micro_batch, t.rows.kind, t.rows.count, t.width);
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
  HashText out;
  out.add(program.mesh.world(), program.mesh.ep(), program.mesh.pp(), program.batch.seq, program.batch.global_batch,
          program.num_micro_batches);
  for (const OpShape& shape : program.shapes) std::visit(AddShape{out}, shape);
  for (const RankClass& c : program.classes) add_class(c, out);
  return sha256_hex(out.text());
}

double bytes_of(const Tensor& tensor, double received) {
  return resolve(tensor.rows, {.rows_per_expert = {}, .received = received}) * static_cast<double>(tensor.width) *
         static_cast<double>(size_of(tensor.dtype));
}

}  // namespace orrery
