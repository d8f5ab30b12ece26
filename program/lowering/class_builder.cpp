// SPDX-License-Identifier: Apache-2.0
#include "program/lowering/class_builder.h"

#include "base/check.h"

#include <algorithm>

namespace orrery::lowering {

ClassBuilder::ClassBuilder(RankClass& out, const std::vector<std::int64_t>& layers, std::int64_t num_micro_batches)
    : out_(out) {
  for (const std::int64_t layer : layers) {
    const auto index = static_cast<std::size_t>(layer);
    if (index >= row_of_layer_.size()) row_of_layer_.resize(index + 1, -1);
    if (row_of_layer_[index] == -1) row_of_layer_[index] = rows_per_micro_batch_++;
  }
  bound_.assign(static_cast<std::size_t>(num_micro_batches * rows_per_micro_batch_ * kNumTensorRoles), kNone);
}

TensorIndex& ClassBuilder::bound(TensorRole role, std::int64_t layer, std::int64_t micro_batch) {
  const std::int64_t row = row_of_layer_.at(static_cast<std::size_t>(layer));
  CHECK(row >= 0, layer, name_of(role));
  // Tensors of the step's end are no micro-batch's, and none of a micro-batch has their roles.
  const std::int64_t index = (std::max<std::int64_t>(micro_batch, 0) * rows_per_micro_batch_ + row) * kNumTensorRoles;
  return bound_[static_cast<std::size_t>(index + static_cast<std::int64_t>(role))];
}

void ClassBuilder::depend(OpIndex on) {
  const Queue queue = out_.ops.back().queue, other = out_.ops[on].queue;
  if (other == queue) return;  // order within a queue is implied
  // So is what an earlier op of this queue has waited for, and all before it on the other queue.
  std::optional<OpIndex>& waited = waited_[static_cast<std::size_t>(queue)][static_cast<std::size_t>(other)];
  if (waited && *waited >= on) return;
  waited = on;
  const std::uint32_t begin = out_.dep_begin.back();
  const auto same_queue = std::find_if(out_.deps.begin() + begin, out_.deps.end(),
                                       [&](OpIndex dep) { return out_.ops[dep].queue == other; });
  if (same_queue == out_.deps.end()) {
    out_.deps.push_back(on);
  } else {
    *same_queue = on;
  }
}

OpIndex ClassBuilder::emit(const OpRule& rule, const Position& at, std::span<const OpIndex> after) {
  return add(rule, at, rule.pass, nullptr, after);
}

OpIndex ClassBuilder::emit_again(const OpRule& rule, const Position& at, const std::set<TensorRole>& kept,
                                 std::span<const OpIndex> after) {
  return add(rule, at, Pass::rec, &kept, after);
}

OpIndex ClassBuilder::add(const OpRule& rule, const Position& at, Pass pass, const std::set<TensorRole>* kept,
                          std::span<const OpIndex> after) {
  const OpIndex op = next();
  out_.ops.push_back({.key = {.micro_batch = static_cast<std::int32_t>(at.micro_batch),
                              .stage = static_cast<std::int16_t>(at.stage),
                              .layer = at.key_layer,
                              .pass = pass,
                              .op = rule.op,
                              .bucket = rule.bucket},
                      .queue = rule.queue,
                      .shape = rule.shape});
  out_.dep_begin.push_back(static_cast<std::uint32_t>(out_.deps.size()));
  out_.use_begin.push_back(static_cast<std::uint32_t>(out_.uses.size()));
  for (const RoleUse& use : rule.uses) {
    const std::int64_t layer = at.layer + use.layer_offset;
    const bool is_scratch = use.access != Access::read && kept != nullptr && kept->contains(use.role);
    TensorIndex& tensor = is_scratch ? scratch_[use.role] : bound(use.role, layer, at.micro_batch);
    if (use.access == Access::create) {
      tensor = static_cast<TensorIndex>(out_.tensors.size());
      out_.tensors.push_back({.role = use.role,
                              .dtype = use.dtype,
                              .layer = static_cast<std::int16_t>(layer),
                              .micro_batch = static_cast<std::int32_t>(at.micro_batch),
                              .rows = use.rows,
                              .width = use.width});
      last_writer_.push_back(op);
      last_use_.push_back(kNone);
    } else {
      CHECK(tensor != kNone, name_of(use.role), to_string(out_.ops.back().key));
      depend(last_writer_[tensor]);
      if (use.access == Access::modify) last_writer_[tensor] = op;
    }
    last_use_[tensor] = static_cast<std::uint32_t>(out_.uses.size());
    out_.uses.emplace_back(tensor, use.access);
  }
  for (const OpIndex on : after) depend(on);
  return op;
}

OpIndex ClassBuilder::last(Queue queue) const {
  const auto found =
      std::find_if(out_.ops.rbegin(), out_.ops.rend(), [queue](const Op& op) { return op.queue == queue; });
  CHECK(found != out_.ops.rend(), static_cast<int>(queue));
  return static_cast<OpIndex>(out_.ops.rend() - found - 1);
}

void ClassBuilder::finish() {
  for (const std::uint32_t use : last_use_) out_.uses[use].set_releases();
  out_.dep_begin.push_back(static_cast<std::uint32_t>(out_.deps.size()));
  out_.use_begin.push_back(static_cast<std::uint32_t>(out_.uses.size()));
}

}  // namespace orrery::lowering
