// SPDX-License-Identifier: Apache-2.0
#include "program/lowering/parameter_units.h"

#include "program/lowering/stream_runs.h"
#include "program/parameters.h"

namespace orrery::lowering {

UnitElements unit_elements(const Model& model, const Strategy& s, std::int16_t key_layer) {
  UnitElements out;
  const std::int64_t vocabulary = model.vocab / s.tp * model.hidden;
  if (key_layer == OpKey::kEmbed) {
    out.dense = vocabulary + (model.learned_positions ? model.max_positions * model.hidden : 0);
  } else if (key_layer == OpKey::kHead) {
    out.dense = vocabulary + model.hidden * (model.norm_bias ? 2 : 1);
  } else {
    const std::int64_t num_local = model.moe ? model.moe->num_experts / s.ep : 0;
    for (const Parameter& p : layer_parameters(model, key_layer, 0, num_local)) {
      if (!p.buffer) (p.is_expert() ? out.expert : out.dense) += elements_on_rank(p, model, s.tp, s.etp);
    }
  }
  return out;
}

namespace {

/// What one unit uses: a prediction module also the embedding, which is no parameter of its own.
UnitElements used_by(const Model& model, const Strategy& s, const Run& run) {
  UnitElements out = unit_elements(model, s, run.is_mtp_head ? OpKey::kHead : run.at.key_layer);
  const bool is_module = run.is_layer() && model.is_mtp(run.at.key_layer);
  if (is_module) out.dense += model.vocab / s.tp * model.hidden;
  return out;
}

/// Where the gathered weights of a unit are. The embedding stands at the first layer, whose weights are there at the
/// same time, and so has a position of its own.
int weights_offset(const RuleContext& c, const Run& run) {
  if (run.at.key_layer != OpKey::kEmbed) return 0;
  return static_cast<int>(embedding_position(c.model, c.strategy) - run.at.layer);
}

}  // namespace

void ParameterUnits::apply(Slot::Kind kind, Stream& stream) {
  for (const FlatBufferKind buffer : {FlatBufferKind::dense, FlatBufferKind::expert}) {
    const ParameterKind parameters = parameter_kind(buffer, c_.strategy);
    if (parameters.zero < 2 || mesh_.size(parameters.shard) == 1) continue;
    if (parameters.zero == 3 && kind != Slot::Kind::weight_grad) {
      gather_weights(parameters, kind == Slot::Kind::forward ? Pass::fwd : Pass::igrad, stream);
    }
    if (kind == Slot::Kind::backward || kind == Slot::Kind::weight_grad) reduce_gradients(parameters, stream);
  }
}

const OpRule* ParameterUnits::keep(OpRule rule) { return &rules_.emplace_back(std::move(rule)); }

OpRule ParameterUnits::exchange(OpCode op, Pass pass, Queue queue, Group group, CollectiveKind kind, std::int64_t bytes,
                                const std::vector<RoleUse>& uses) const {
  return c_.with_shape(op, pass, queue, CollectiveShape{.kind = kind, .group = group, .bytes = bytes}, uses);
}

void ParameterUnits::gather_weights(const ParameterKind& parameters, Pass pass, Stream& stream) {
  struct Gathered {
    Run run;
    StreamItem item;
  };
  std::vector<Gathered> units;
  for (const Run& run : runs_of(stream, c_.model.num_layers())) {
    const std::int64_t elements = used_by(c_.model, c_.strategy, run).of(parameters.kind);
    // The gradient of a lookup needs no weights.
    if (elements == 0 || (pass == Pass::igrad && run.at.key_layer == OpKey::kEmbed)) continue;
    OpRule rule =
        exchange(parameters.gather, pass, parameters.queue, parameters.shard, CollectiveKind::all_gather,
                 elements * size_of(c_.dtype),
                 {create(parameters.weights, {Rows::Kind::fixed, elements}, 1, c_.dtype, weights_offset(c_, run))});
    if (run.is_mtp_head) rule.bucket = 1;
    units.push_back({run, {.rule = keep(rule), .at = run.at, .inserted = true}});
  }
  Stream out;
  std::size_t next = 0;
  const auto gather_next = [&] {
    if (next < units.size()) out.push_back(units[next++].item);
  };
  gather_next();
  std::size_t unit = 0;
  for (std::size_t i = 0; i < stream.size(); ++i) {
    if (unit < units.size() && i == units[unit].run.end) ++unit;
    if (unit < units.size() && i == units[unit].run.begin) gather_next();
    out.push_back(stream[i]);
    const bool inside = unit < units.size() && i >= units[unit].run.begin;
    if (!inside || (i != units[unit].run.begin && i + 1 != units[unit].run.end)) continue;
    // The first op of the unit waits for the weights, the last one releases them.
    OpRule with_weights = *stream[i].rule;
    with_weights.uses.insert(with_weights.uses.begin(), read(parameters.weights, weights_offset(c_, units[unit].run)));
    out.back().rule = keep(std::move(with_weights));
  }
  stream = std::move(out);
}

void ParameterUnits::reduce_gradients(const ParameterKind& parameters, Stream& stream) {
  const std::int64_t ranks = mesh_.size(parameters.shard);
  Stream out;
  std::size_t next = 0;  // item that is not copied yet
  for (const Run& run : runs_of(stream, c_.model.num_layers())) {
    const std::int64_t elements = used_by(c_.model, c_.strategy, run).of(parameters.kind);
    out.insert(out.end(), stream.begin() + static_cast<std::ptrdiff_t>(next),
               stream.begin() + static_cast<std::ptrdiff_t>(run.begin));
    next = run.end;
    bool has_bucket = false;
    for (std::size_t i = run.begin; i < run.end; ++i) {
      out.push_back(stream[i]);
      if (stream[i].rule->pass != Pass::wgrad || stream[i].inserted || has_bucket || elements == 0) continue;
      has_bucket = true;
      OpRule first = *stream[i].rule;
      first.uses.push_back(create(parameters.gradients, {Rows::Kind::fixed, elements}, 1, c_.strategy.grad_wire_dtype));
      out.back().rule = keep(std::move(first));
    }
    if (!has_bucket) continue;
    const std::int64_t bytes = elements * size_of(c_.strategy.grad_wire_dtype);
    OpRule reduce = exchange(parameters.scatter, Pass::sync, parameters.queue, parameters.shard,
                             CollectiveKind::reduce_scatter, bytes, {read(parameters.gradients)});
    if (run.is_mtp_head) reduce.bucket = 1;
    out.push_back({.rule = keep(reduce), .at = run.at, .inserted = true});
    if (c_.strategy.num_optimizer_instances == 1) continue;
    OpRule over = exchange(parameters.over_replicas, Pass::sync, parameters.queue, parameters.replica,
                           CollectiveKind::all_reduce, (bytes + ranks - 1) / ranks, {});
    over.bucket = reduce.bucket;
    out.push_back({.rule = keep(over), .at = run.at, .inserted = true});
  }
  out.insert(out.end(), stream.begin() + static_cast<std::ptrdiff_t>(next), stream.end());
  stream = std::move(out);
}

}  // namespace orrery::lowering
