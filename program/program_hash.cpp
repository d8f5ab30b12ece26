// SPDX-License-Identifier: Apache-2.0
// What tells programs apart: hash_of(), which traces store, and fingerprint_of(), which nobody stores.
#include "base/sha256.h"
#include "program/fingerprint.h"
#include "program/step_program.h"

#include <array>
#include <bit>
#include <span>
#include <string>
#include <utility>
#include <variant>

namespace orrery {
namespace {

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

/// Mixes plain values, word after word: each is multiplied into what came before (the multiplier is that of Knuth's
/// generator MMIX), and a rotation carries the upper bits, which depend on all, into the lower ones. The words go to
/// two such states in turn, since a processor multiplies for one while the other waits for its product.
class ValueMix {
 public:
  template <class... Values>
  void add(Values... values) {
    (add_one(static_cast<std::uint64_t>(values)), ...);
  }
  template <class T>
  void add_all(std::span<const T> values) {
    static_assert(sizeof(T) == sizeof(std::uint32_t) && std::has_unique_object_representations_v<T>);
    add_one(values.size());
    std::size_t i = 0;
    for (; i + 1 < values.size(); i += 2) add_one(word_of(values[i]) << 32 | word_of(values[i + 1]));
    if (i < values.size()) add_one(word_of(values[i]));
  }
  std::int64_t value() const { return std::bit_cast<std::int64_t>(mixed(state_, other_)); }

 private:
  template <class T>
  static std::uint64_t word_of(T value) {
    return std::bit_cast<std::uint32_t>(value);
  }
  static std::uint64_t mixed(std::uint64_t state, std::uint64_t value) {
    return std::rotl((state ^ value) * 6364136223846793005u, 29);
  }
  void add_one(std::uint64_t value) { state_ = mixed(std::exchange(other_, state_), value); }

  std::uint64_t state_ = 1442695040888963407u, other_ = 0;
};

template <class Values>
struct AddShape {
  Values& out;
  void rows(const Rows& r) const { out.add(r.kind, r.count); }
  void operator()(const GemmShape& s) const { out.add(0, s.m, s.n, s.k, s.dtype, s.accumulate); }
  void operator()(const GroupedGemmShape& s) const {
    rows(s.rows);
    out.add(1, s.num_experts, s.n, s.k, s.dtype, s.accumulate);
    // `by_sender` is what the exchanges say already.
    if (s.bias) out.add(s.bias);  // programs without keep the hash that they had
  }
  void operator()(const AttentionShape& s) const {
    out.add(2, s.batch, s.heads, s.kv_heads, s.seq, s.kv_seq, s.d_qk, s.d_v, s.causal, s.window, s.chunked, s.dtype);
  }
  void operator()(const MemoryShape& s) const {
    rows(s.rows);
    out.add(3, s.read_per_row, s.written_per_row, s.flops_per_row);
    if (s.clamped_per_row != 0) out.add(s.clamped_per_row);
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

/// The ops of a class with what they wait for.
template <class Values>
void add_ops(const RankClass& c, Values& out) {
  for (const Op& op : c.ops) out.add(position_word(op.key), kind_word(op), op.shape);
  out.add_all(std::span<const std::uint32_t>(c.dep_begin));
  out.add_all(std::span<const OpIndex>(c.deps));
}

void add_tensors(const RankClass& c, ValueHash& out) {
  out.add_all(std::span<const std::uint32_t>(c.use_begin));
  out.add_all(std::span<const TensorUse>(c.uses));
  for (const Tensor& t : c.tensors) {
    out.add(static_cast<std::int64_t>(t.role) << 8 | static_cast<std::int64_t>(t.dtype),
            position_word({.micro_batch = t.micro_batch, .layer = t.layer}),
            static_cast<std::int64_t>(t.rows.kind) << 56 | t.rows.count, t.width);
  }
}

/// What stands before the classes.
template <class Values>
void add_step(const StepProgram& program, Values& out) {
  out.add(program.mesh.world(), program.mesh.ep(), program.mesh.pp(), program.batch.seq, program.batch.global_batch,
          program.num_micro_batches);
  for (const OpShape& shape : program.shapes) std::visit(AddShape<Values>{out}, shape);
}

template <class Values>
void add_experts(const StepProgram& program, Values& out) {
  for (const auto& [layer, experts] : program.experts.layers) {
    out.add(layer, experts.size());
    for (const std::int32_t expert : experts) out.add(expert);
  }
}

}  // namespace

std::string hash_of(const StepProgram& program) {
  ValueHash out;
  add_step(program, out);
  for (const RankClass& c : program.classes) {
    out.add(c.pipeline_rank, c.ops.size(), c.deps.size(), c.uses.size(), c.tensors.size());
    add_ops(c, out);
    add_tensors(c, out);
  }
  add_experts(program, out);
  return out.hex();
}

std::int64_t fingerprint_of(const StepProgram& program) {
  ValueMix out;
  add_step(program, out);
  for (const RankClass& c : program.classes) {
    out.add(c.pipeline_rank, c.ops.size(), c.deps.size());
    add_ops(c, out);
  }
  add_experts(program, out);
  return out.value();
}

}  // namespace orrery
