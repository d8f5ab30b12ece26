// SPDX-License-Identifier: Apache-2.0
#include "program/lowering/gradient_buckets.h"

#include "program/lowering/parameter_kind.h"
#include "program/lowering/parameter_units.h"
#include "program/lowering/stream_runs.h"

#include <algorithm>

namespace orrery::lowering {

GradientBuckets::GradientBuckets(const ClassContext& context, const std::vector<StageUnits>& done) : c_(context) {
  cut(FlatBufferKind::dense, done);
  cut(FlatBufferKind::expert, done);
}

namespace {

/// Source: Megatron-LM, distributed_data_parallel.py: large enough to fill the links of a large group.
std::int64_t least_bucket(std::int64_t ranks) { return std::max<std::int64_t>(40'000'000, 1'000'000 * ranks); }

}  // namespace

/// Elements whose gradients are complete with this unit: not of a head that is the embedding of the same rank.
std::int64_t GradientBuckets::completed_by(const Run& run, FlatBufferKind kind) const {
  const RuleContext& rules = c_.rules_context;
  UnitElements unit = unit_elements(rules.model, rules.strategy, run.at.key_layer);
  const bool has_embedding =
      std::any_of(c_.stages.begin(), c_.stages.end(), [](const StageContext& s) { return s.layout.embedding; });
  if (rules.model.tied_embeddings && has_embedding && run.at.key_layer == OpKey::kHead) {
    unit.dense -= rules.model.vocab / rules.strategy.tp * rules.model.hidden;
  }
  return unit.of(kind);
}

void GradientBuckets::cut(FlatBufferKind kind, const std::vector<StageUnits>& done) {
  const RuleContext& rules = c_.rules_context;
  const FlatBuffer flat = flat_buffer(rules.model, c_.layouts(), rules.strategy, c_.mesh, kind);
  const std::int64_t ranks = c_.mesh.size(parameter_kind(kind, rules.strategy).whole);
  if (ranks == 1 || flat.padded == 0) return;
  const std::int64_t enough = c_.least_bucket.value_or(least_bucket(ranks));
  std::int64_t left = flat.padded, waiting = 0;
  std::int16_t index = 0;
  std::vector<UnitId> units;
  const auto close = [&](UnitId last, std::int64_t elements) {
    buckets_.push_back({.kind = kind, .elements = elements, .index = index++, .last = last, .units = units});
    units.clear();
    left -= elements;
    waiting -= elements;
  };
  for (const StageUnits& stage : done) {
    for (const Run& run : runs_of(*stage.weight_gradients, rules.model.num_layers())) {
      if (run.is_mtp_head) continue;
      units.emplace_back(stage.stage, run.at.key_layer);
      waiting += completed_by(run, kind);
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
  const ParameterKind kind = parameter_kind(bucket.kind, s);
  CollectiveShape shape{.group = kind.shard,
                        .bytes = bucket.elements * size_of(gathers ? rules.dtype : s.grad_wire_dtype)};
  OpCode op = kind.scatter;
  if (gathers) {
    shape.kind = CollectiveKind::all_gather;
    op = kind.gather;
  } else if (kind.zero == 0) {
    shape.kind = CollectiveKind::all_reduce;
    shape.group = kind.whole;
    op = kind.all_reduce;
  } else {
    shape.kind = CollectiveKind::reduce_scatter;
  }
  const ClassBuilder::Position here{.stage = c_.stages.front().stage, .layer = c_.stages.front().first_layer()};
  OpRule rule = rules.with_shape(op, gathers ? Pass::update : Pass::sync, kind.queue, shape, {});
  rule.bucket = bucket.index;
  OpIndex last = 0;
  const std::int64_t ranks = c_.mesh.size(kind.shard);
  if (kind.zero == 0 || ranks > 1) last = builder.emit(rule, here, after);
  if (gathers || kind.zero == 0 || s.num_optimizer_instances == 1) return last;
  const std::vector<OpIndex> reduced = {last};
  OpRule over = rules.with_shape(kind.over_replicas, Pass::sync, kind.queue,
                                 CollectiveShape{.kind = CollectiveKind::all_reduce,
                                                 .group = kind.replica,
                                                 .bytes = bucket.elements / ranks * size_of(s.grad_wire_dtype)},
                                 {});
  over.bucket = bucket.index;
  return builder.emit(over, here, ranks > 1 ? std::span<const OpIndex>(reduced) : after);
}

void GradientBuckets::gather_weights(ClassBuilder& builder) {
  for (auto bucket = buckets_.rbegin(); bucket != buckets_.rend(); ++bucket) {
    const ParameterKind kind = parameter_kind(bucket->kind, c_.rules_context.strategy);
    if (kind.zero == 0 || c_.mesh.size(kind.shard) == 1) continue;
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
