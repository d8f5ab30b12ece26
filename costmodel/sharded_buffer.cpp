// SPDX-License-Identifier: Apache-2.0
#include "costmodel/sharded_buffer.h"

#include "program/counts.h"
#include "program/parameters.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

namespace orrery::costmodel {
namespace {

double real(std::int64_t n) { return static_cast<double>(n); }

}  // namespace

ShardedBuffer::ShardedBuffer(const Model& model, const Strategy& strategy, const Mesh& mesh,
                             const std::vector<StageLayout>& layouts, FlatBufferKind kind)
    : model_(model),
      strategy_(strategy),
      layouts_(layouts),
      kind_(kind),
      flat_(flat_buffer(model, layouts, strategy, mesh, kind)),
      zero_(kind == FlatBufferKind::dense ? strategy.zero_dense : strategy.zero_expert),
      whole_(real(mesh.size(kind == FlatBufferKind::dense ? Group::dp : Group::edp))),
      shards_(real(flat_.ranks)),
      instances_(real(strategy.num_optimizer_instances)) {}

// Rajbhandari et al. (arXiv 1910.02054): gradients are reduced once a step, and by unit and micro-batch where they are
// sharded; weights gathered once, or for every forward and backward where they are. Hybrid sharding reduces shards over
// the instances. What one rank holds alone is not sharded, whatever the stage.
double ShardedBuffer::sent(double micro_batches) const {
  const double gradient = real(size_of(strategy_.grad_wire_dtype)), weight = real(size_of(compute_dtype(strategy_)));
  const double padded = real(flat_.padded);
  if (zero_ == 0) return all_reduced(whole_, padded * gradient);
  if (zero_ == 1 || flat_.ranks == 1) {
    return scattered(shards_, padded * (gradient + weight)) + all_reduced(instances_, padded / shards_ * gradient);
  }
  double bytes = zero_ == 2 ? scattered(shards_, padded * weight) : 0.0;
  for (const double elements : units()) {
    bytes += micro_batches * (scattered(shards_, elements * gradient) +
                              all_reduced(instances_, std::ceil(elements * gradient / shards_)));
    if (zero_ == 3) bytes += micro_batches * 2.0 * scattered(shards_, elements * weight);
  }
  // The gradient of a lookup needs no weights.
  const bool embeds = std::any_of(layouts_.begin(), layouts_.end(), [](const StageLayout& s) { return s.embedding; });
  if (zero_ == 3 && kind_ == FlatBufferKind::dense && embeds) {
    bytes -= micro_batches * scattered(shards_, embedding() * weight);
  }
  return bytes;
}

double ShardedBuffer::elements_of_layer(std::int64_t layer) const {
  const std::int64_t num_local = model_.moe ? model_.moe->num_experts / strategy_.ep : 0;
  double elements = 0.0;
  for (const Parameter& p : layer_parameters(model_, layer, 0, num_local)) {
    if (p.buffer || p.is_expert() != (kind_ == FlatBufferKind::expert)) continue;
    elements += real(elements_on_rank(p, model_, strategy_.tp, strategy_.etp));
  }
  return elements;
}

double ShardedBuffer::embedding() const {
  const std::int64_t positions = model_.learned_positions ? model_.max_positions : 0;
  return real((model_.vocab / strategy_.tp + positions) * model_.hidden);
}

// Embedding, layers, prediction modules with the embedding that they share, and the head for every loss.
std::vector<double> ShardedBuffer::units() const {
  const bool dense = kind_ == FlatBufferKind::dense;
  const double vocabulary = dense ? real(model_.vocab / strategy_.tp * model_.hidden) : 0.0;
  const double norm = dense ? real(model_.hidden * (model_.norm_bias ? 2 : 1)) : 0.0;
  const std::int64_t num_heads = 1 + num_mtp_modules(model_, strategy_.mtp);
  std::vector<double> out;
  for (const StageLayout& stage : layouts_) {
    if (stage.embedding) out.push_back(dense ? embedding() : 0.0);
    for (std::int64_t i = 0; i < stage.num_layers; ++i) out.push_back(elements_of_layer(stage.first_layer + i));
    for (std::int64_t i = 0; i < stage.num_mtp; ++i) {
      out.push_back(elements_of_layer(model_.num_layers() + i) + vocabulary);
    }
    for (std::int64_t i = 0; stage.head && i < num_heads; ++i) out.push_back(vocabulary + norm);
  }
  return out;
}

double ShardedBuffer::muon_flops() const {
  std::map<std::pair<double, double>, double> num_matrices;  // by sides
  for (const Parameter& p : rank_parameters(model_, layouts_, strategy_.ep, 0)) {
    if (!is_orthogonalised(p, strategy_) || p.is_expert() != (kind_ == FlatBufferKind::expert)) continue;
    const double elements = real(elements_on_rank(p, model_, strategy_.tp, strategy_.etp));
    const double rows = p.split == Split::cols ? real(p.rows) : elements / real(p.cols), cols = elements / rows;
    num_matrices[{std::min(rows, cols), std::max(rows, cols)}] += 1.0;
  }
  double flops = 0.0;
  for (const auto& [sides, count] : num_matrices) {
    const auto& [m, n] = sides;
    const double owned = zero_ >= 1 ? std::ceil(count / shards_) : count;
    flops += owned * 5.0 * (2.0 * 2.0 * m * m * n + 2.0 * m * m * m);
  }
  return flops;
}

}  // namespace orrery::costmodel
