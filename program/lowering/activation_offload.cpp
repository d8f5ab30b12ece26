// SPDX-License-Identifier: Apache-2.0
#include "program/lowering/activation_offload.h"

#include "program/lowering/stream_runs.h"

#include <algorithm>
#include <map>
#include <set>

namespace orrery::lowering {
namespace {

/// Tensors of a layer that its backward uses and does not make, as the forward creates them.
std::vector<RoleUse> saved_by(const RuleContext& c, const Stream& forward, const Run& forward_run,
                              const Stream& backward, const Run& backward_run) {
  std::map<TensorRole, RoleUse> created = {
      {TensorRole::x, create(TensorRole::x, c.local_rows(), c.model.hidden, c.dtype)}};
  for (std::size_t i = forward_run.begin; i < forward_run.end; ++i) {
    for (const RoleUse& use : forward[i].rule->uses) {
      if (use.access == Access::create && use.layer_offset == 0) created[use.role] = use;
    }
  }
  std::set<TensorRole> made;
  std::vector<RoleUse> saved;
  for (std::size_t i = backward_run.begin; i < backward_run.end; ++i) {
    const StreamItem& item = backward[i];
    for (const RoleUse& use : item.rule->uses) {
      if (use.layer_offset != 0) continue;
      const bool scratch = item.kept != nullptr && item.kept->contains(use.role);
      if (use.access == Access::create && !scratch) made.insert(use.role);
      const auto found = created.find(use.role);
      if (use.access == Access::create || found == created.end() || !made.insert(use.role).second) continue;
      saved.push_back(found->second);
    }
  }
  return saved;
}

}  // namespace

ActivationOffload::ActivationOffload(const RuleContext& context, const Stream& forward, const Stream& backward)
    : c_(context) {
  const std::vector<Run> backward_runs = runs_of(backward, c_.model.num_layers());
  for (const Run& run : runs_of(forward, c_.model.num_layers())) {
    const auto back = std::find_if(backward_runs.begin(), backward_runs.end(), [&](const Run& other) {
      return other.at.layer == run.at.layer && other.at.key_layer == run.at.key_layer;
    });
    if (!run.is_layer() || back == backward_runs.end()) continue;
    Layer& layer = layers_.emplace_back();
    layer.at = run.at;
    std::map<Rows::Kind, std::vector<RoleUse>> by_rows;
    for (const RoleUse& use : saved_by(c_, forward, run, backward, *back)) by_rows[use.rows.kind].push_back(use);
    for (const auto& [kind, uses] : by_rows) {
      CopyShape shape;
      std::vector<RoleUse> reads;
      for (const RoleUse& use : uses) {
        const std::int64_t row = use.width * size_of(use.dtype);
        if (kind == Rows::Kind::fixed) {
          shape.bytes += use.rows.count * row;
        } else {
          shape.rows = use.rows;
          shape.row_bytes += row;
        }
        reads.push_back(read(use.role));
      }
      const auto bucket = static_cast<std::int16_t>(kind);
      const auto add = [&](OpCode op, Pass pass, bool to_host, const std::vector<RoleUse>& copied) -> const OpRule* {
        shape.to_host = to_host;
        OpRule rule = c_.with_shape(op, pass, Queue::copy, shape, copied);
        rule.bucket = bucket;
        rules_.push_back(std::move(rule));
        return &rules_.back();
      };
      layer.store.push_back(add(OpCode::act_store, Pass::fwd, true, reads));
      layer.load.push_back(add(OpCode::act_load, Pass::igrad, false, uses));
    }
  }
}

const ActivationOffload::Layer* ActivationOffload::layer_at(const ClassBuilder::Position& at) const {
  const auto found = std::find_if(layers_.begin(), layers_.end(), [&](const Layer& layer) {
    return layer.at.layer == at.layer && layer.at.key_layer == at.key_layer;
  });
  return found == layers_.end() ? nullptr : &*found;
}

void ActivationOffload::apply(Slot::Kind kind, Stream& stream) const {
  if (kind == Slot::Kind::weight_grad) return;
  const std::vector<Run> runs = runs_of(stream, c_.model.num_layers());
  Stream out;
  const auto copy = [&](const std::vector<const OpRule*> Layer::* copies, const Run& run) {
    const Layer* layer = run.is_layer() ? layer_at(run.at) : nullptr;
    if (layer == nullptr) return;
    for (const OpRule* rule : layer->*copies) out.push_back({.rule = rule, .at = run.at, .inserted = true});
  };
  std::size_t next = 0;  // item that is not copied yet
  for (std::size_t i = 0; i < runs.size(); ++i) {
    out.insert(out.end(), stream.begin() + static_cast<std::ptrdiff_t>(next),
               stream.begin() + static_cast<std::ptrdiff_t>(runs[i].begin));
    if (kind != Slot::Kind::forward) {
      if (i == 0) copy(&Layer::load, runs[0]);
      if (i + 1 < runs.size()) copy(&Layer::load, runs[i + 1]);
    }
    out.insert(out.end(), stream.begin() + static_cast<std::ptrdiff_t>(runs[i].begin),
               stream.begin() + static_cast<std::ptrdiff_t>(runs[i].end));
    if (kind == Slot::Kind::forward) copy(&Layer::store, runs[i]);
    next = runs[i].end;
  }
  out.insert(out.end(), stream.begin() + static_cast<std::ptrdiff_t>(next), stream.end());
  stream = std::move(out);
}

}  // namespace orrery::lowering
