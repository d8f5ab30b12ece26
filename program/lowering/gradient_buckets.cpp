// SPDX-License-Identifier: Apache-2.0
#include "program/lowering/gradient_buckets.h"

#include "program/flat_buffer.h"
#include "program/lowering/parameter_units.h"
#include "program/lowering/stream_runs.h"

#include <algorithm>

namespace orrery::lowering {

GradientBuckets::GradientBuckets(const ClassContext& context, const std::vector<StageUnits>& done) : c_(context) {
  cut(true, done);
  cut(false, done);
}

void GradientBuckets::cut(bool dense, const std::vector<StageUnits>& done) {
  const RuleContext& rules = c_.rules_context;
  const FlatBuffer flat = flat_buffer(rules.model, c_.layouts(), rules.strategy, c_.mesh,
                                      dense ? FlatBufferKind::dense : FlatBufferKind::expert);
  const std::int64_t ranks = c_.mesh.size(dense ? Group::dp : Group::edp);
  if (ranks == 1 || flat.padded == 0) return;
  // Source: Megatron-LM, distributed_data_parallel.py: large enough to fill the links of a large group.
  const std::int64_t enough = std::max<std::int64_t>(40'000'000, 1'000'000 * ranks);
  std::int64_t left = flat.padded, waiting = 0;
  std::int16_t index = 0;
  std::vector<UnitId> units;
  const auto close = [&](UnitId last, std::int64_t elements) {
    buckets_.push_back({.dense = dense, .elements = elements, .index = index++, .last = last, .units = units});
    units.clear();
    left -= elements;
    waiting -= elements;
  };
  for (const StageUnits& stage : done) {
    for (const Run& run : runs_of(*stage.weight_gradients, rules.model.num_layers())) {
      if (run.is_mtp_head) continue;
      const UnitElements elements = unit_elements(rules.model, rules.strategy, run.at.key_layer);
      units.emplace_back(stage.stage, run.at.key_layer);
      waiting += dense ? elements.dense : elements.expert;
      // Shards are whole: what does not divide goes to the next bucket.
      const std::int64_t size = std::min(waiting, left) / flat.ranks * flat.ranks;
      if (size >= enough && size < left) close(units.back(), size);
    }
  }
  const Run last = runs_of(*done.back().weight_gradients, rules.model.num_layers()).back();
  close({done.back().stage, last.at.key_layer}, left);
}

OpIndex GradientBuckets::emit(const Bucket& bucket, bool gathers, std::span<const OpIndex> after,
                              ClassBuilder& builder) const {
  const RuleContext& rules = c_.rules_context;
  const Strategy& s = rules.strategy;
  const int zero = bucket.dense ? s.zero_dense : s.zero_expert;
  const Group whole = bucket.dense ? Group::dp : Group::edp, shard = sharding_group(whole, s);
  CollectiveShape shape{.group = shard, .bytes = bucket.elements * size_of(gathers ? rules.dtype : s.grad_wire_dtype)};
  OpCode op = bucket.dense ? OpCode::dp_grad_rs : OpCode::edp_grad_rs;
  if (gathers) {
    shape.kind = CollectiveKind::all_gather;
    op = bucket.dense ? OpCode::dp_param_ag : OpCode::edp_param_ag;
  } else if (zero == 0) {
    shape.kind = CollectiveKind::all_reduce;
    shape.group = whole;
    op = bucket.dense ? OpCode::dp_grad_ar : OpCode::edp_grad_ar;
  } else {
    shape.kind = CollectiveKind::reduce_scatter;
  }
  const ClassBuilder::Position here{.stage = c_.stages.front().stage, .layer = c_.stages.front().first_layer()};
  const Queue queue = bucket.dense ? Queue::dp : Queue::edp;
  OpRule rule = rules.with_shape(op, gathers ? Pass::update : Pass::sync, queue, shape, {});
  rule.bucket = bucket.index;
  OpIndex last = 0;
  const std::int64_t ranks = c_.mesh.size(shard);
  if (zero == 0 || ranks > 1) last = builder.emit(rule, here, after);
  if (gathers || zero == 0 || s.num_optimizer_instances == 1) return last;
  const std::vector<OpIndex> reduced = {last};
  OpRule over = rules.with_shape(bucket.dense ? OpCode::dp_replica_ar : OpCode::edp_replica_ar, Pass::sync, queue,
                                 CollectiveShape{.kind = CollectiveKind::all_reduce,
                                                 .group = bucket.dense ? Group::dp_replica : Group::edp_replica,
                                                 .bytes = bucket.elements / ranks * size_of(s.grad_wire_dtype)},
                                 {});
  over.bucket = bucket.index;
  return builder.emit(over, here, ranks > 1 ? std::span<const OpIndex>(reduced) : after);
}

void GradientBuckets::gather_weights(ClassBuilder& builder) {
  for (auto bucket = buckets_.rbegin(); bucket != buckets_.rend(); ++bucket) {
    const Strategy& s = c_.rules_context.strategy;
    const int zero = bucket->dense ? s.zero_dense : s.zero_expert;
    if (zero == 0 || c_.mesh.size(bucket->dense ? Group::dp_shard : Group::edp_shard) == 1) continue;
    bucket->gather = emit(*bucket, true, {}, builder);
  }
}

std::vector<OpIndex> GradientBuckets::weights_of(UnitId unit) const {
  std::vector<OpIndex> ops;
  for (const Bucket& bucket : buckets_) {
    const bool has_it = std::find(bucket.units.begin(), bucket.units.end(), unit) != bucket.units.end();
    if (has_it && bucket.gather >= 0) ops.push_back(static_cast<OpIndex>(bucket.gather));
  }
  return ops;
}

void GradientBuckets::close(UnitId unit, OpIndex last, ClassBuilder& builder) {
  const std::vector<OpIndex> after = {last};
  for (const Bucket& bucket : buckets_) {
    if (bucket.last == unit) reductions_.push_back(emit(bucket, false, after, builder));
  }
}

}  // namespace orrery::lowering
