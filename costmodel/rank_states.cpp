// SPDX-License-Identifier: Apache-2.0
#include "costmodel/rank_states.h"

#include "program/flat_buffer.h"
#include "program/parameters.h"
#include "program/schedule.h"
#include "program/step_program.h"

#include <algorithm>

namespace orrery::costmodel {
namespace {

constexpr std::int64_t kBiasBytes = 4;  // router biases are f32 buffers without states

Bytes bytes_of(std::int64_t count, DType type) { return bytes(static_cast<double>(count * size_of(type))); }

/// One of the two kinds of parameters.
struct Buffer {
  std::int64_t elements = 0, muon = 0;
  int zero = 0;
  std::int64_t ranks = 1;      // that share states
  std::int64_t all_ranks = 1;  // that sum gradients

  std::int64_t shard() const { return (elements + ranks - 1) / ranks; }
  std::int64_t padded() const { return shard() * ranks; }
  std::int64_t held(int from_stage) const { return zero >= from_stage ? shard() : padded(); }
};

}  // namespace

RankElements& RankElements::operator+=(const RankElements& other) {
  dense += other.dense;
  expert += other.expert;
  muon_dense += other.muon_dense;
  muon_expert += other.muon_expert;
  num_moe_layers += other.num_moe_layers;
  return *this;
}

ElementCounts::ElementCounts(const Model& model, const Strategy& strategy) : model_(model), strategy_(strategy) {}

const RankElements& ElementCounts::layer(std::int64_t layer) {
  const std::size_t kind = (model_.kind(layer) == LayerKind::moe ? 1 : 0) + (model_.is_mtp(layer) ? 2 : 0);
  std::optional<RankElements>& found = layers_[kind];
  if (found) return *found;
  found.emplace();
  found->num_moe_layers = model_.kind(layer) == LayerKind::moe ? 1 : 0;
  const std::int64_t local_experts = model_.moe ? model_.moe->num_experts / strategy_.ep : 0;
  // One expert stands for all of the rank.
  for (const Parameter& parameter : layer_parameters(model_, layer, 0, std::min<std::int64_t>(local_experts, 1))) {
    if (parameter.buffer) continue;
    const std::int64_t elements =
        elements_on_rank(parameter, model_, strategy_.tp, strategy_.etp) * (parameter.is_expert() ? local_experts : 1);
    (parameter.is_expert() ? found->expert : found->dense) += elements;
    if (!is_orthogonalised(parameter, strategy_)) continue;
    (parameter.is_expert() ? found->muon_expert : found->muon_dense) += elements;
  }
  return *found;
}

RankElements ElementCounts::embedding() const {
  const std::int64_t positions = model_.learned_positions ? model_.max_positions : 0;
  return {.dense = (model_.vocab / strategy_.tp + positions) * model_.hidden};
}

RankElements ElementCounts::head() const {
  return {.dense = (model_.vocab / strategy_.tp + (model_.norm_bias ? 2 : 1)) * model_.hidden};
}

RankElements ElementCounts::rank(const std::vector<StageLayout>& stages) {
  RankElements out;
  const auto any = [&](auto property) { return std::any_of(stages.begin(), stages.end(), property); };
  const bool has_embedding = any([](const StageLayout& stage) { return stage.embedding; });
  for (const StageLayout& stage : stages) {
    const bool copies = stage.num_mtp > 0 && !has_embedding;
    if (stage.embedding || copies) out += embedding();
    for (std::int64_t i = 0; i < stage.num_layers; ++i) out += layer(stage.first_layer + i);
    for (std::int64_t i = 0; i < stage.num_mtp; ++i) out += layer(model_.num_layers() + i);
    if (!stage.head) continue;
    RankElements end = head();
    if (model_.tied_embeddings && (has_embedding || copies)) {
      end.dense -= model_.vocab / strategy_.tp * model_.hidden;
    }
    out += end;
  }
  return out;
}

std::vector<StageLayout> stages_on_rank(const Strategy& strategy, std::int64_t rank) {
  std::vector<StageLayout> out;
  for (const std::int64_t stage : stages_of(strategy, rank)) {
    out.push_back(strategy.stages[static_cast<std::size_t>(stage)]);
  }
  return out;
}

RankStates rank_states(const Model& model, const Strategy& s, const Mesh& mesh, const Framework& framework,
                       const RankElements& elements) {
  const Buffer dense{.elements = elements.dense,
                     .muon = elements.muon_dense,
                     .zero = s.zero_dense,
                     .ranks = mesh.size(Group::dp_shard),
                     .all_ranks = mesh.size(Group::dp)};
  const Buffer expert{.elements = elements.expert,
                      .muon = elements.muon_expert,
                      .zero = s.zero_expert,
                      .ranks = mesh.size(Group::edp_shard),
                      .all_ranks = mesh.size(Group::edp)};
  RankStates out;
  for (const Buffer& buffer : {dense, expert}) {
    // A framework whose f32 shards are weight and master at once has no third copy.
    const bool master_is_weight = framework.shards_are_masters && buffer.zero == 3;
    if (!master_is_weight) out.weights += bytes_of(buffer.held(3), compute_dtype(s));
    out.gradients += bytes_of(buffer.held(2), s.grad_dtype);
    const std::int64_t owned = buffer.held(1);
    const std::int64_t muon = buffer.zero >= 1 ? (buffer.muon + buffer.ranks - 1) / buffer.ranks : buffer.muon;
    Bytes optimizer = bytes_of(2 * owned - muon, s.moment_dtype);  // Muon keeps one moment
    if (has_master(s) || master_is_weight) optimizer += bytes_of(owned, s.master_dtype);
    (s.offload_optimizer ? out.loaded : out.optimizer) += optimizer;
    const bool by_unit = buffer.zero >= 2 && buffer.ranks > 1;
    const bool casts = s.grad_wire_dtype != s.grad_dtype && !by_unit && !s.overlap.dp_buckets;
    if (casts && buffer.all_ranks > 1) {
      out.wire_grads = std::max(out.wire_grads, bytes_of(buffer.padded(), s.grad_wire_dtype));
    }
  }
  if (model.moe && model.moe->aux_free_bias) {
    out.weights += bytes(static_cast<double>(kBiasBytes * model.moe->num_experts * elements.num_moe_layers));
  }
  return out;
}

RankStates rank_states(const Model& model, const Strategy& strategy, const Mesh& mesh, const Framework& framework,
                       const std::vector<StageLayout>& stages, ElementCounts& counts) {
  return rank_states(model, strategy, mesh, framework, counts.rank(stages));
}

RankStates states_of_class(const StepProgram& program, std::size_t index, ElementCounts& counts) {
  const Strategy& strategy = program.strategy;
  if (static_cast<std::int64_t>(strategy.stages.size()) != strategy.num_stages()) return {};
  const std::vector<StageLayout> stages = stages_on_rank(strategy, static_cast<std::int64_t>(index));
  return rank_states(program.model, strategy, program.mesh, {}, stages, counts);
}

}  // namespace orrery::costmodel
