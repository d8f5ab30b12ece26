// SPDX-License-Identifier: Apache-2.0
#include "program/flat_buffer.h"

#include "program/parameters.h"

namespace orrery {

bool is_orthogonalised(const Parameter& parameter, const Strategy& strategy) {
  if (strategy.optimizer != OptimizerKind::muon || parameter.layer < 0) return false;
  return parameter.rows > 1 && parameter.cols > 1 && parameter.role != WeightRole::router && !parameter.buffer;
}

FlatBuffer flat_buffer(const Model& model, const StageLayout& stage, const Strategy& strategy, const Mesh& mesh,
                       FlatBufferKind kind) {
  return flat_buffer(model, std::vector<StageLayout>{stage}, strategy, mesh, kind);
}

FlatBuffer flat_buffer(const Model& model, const std::vector<StageLayout>& stages, const Strategy& strategy,
                       const Mesh& mesh, FlatBufferKind kind) {
  FlatBuffer buffer;
  buffer.ranks = mesh.size(kind == FlatBufferKind::dense ? Group::dp_shard : Group::edp_shard);
  for (const Parameter& parameter : rank_parameters(model, stages, strategy.ep, 0)) {
    const bool is_expert = kind == FlatBufferKind::expert;
    if (parameter.buffer || parameter.is_expert() != is_expert) continue;
    const std::int64_t elements = elements_on_rank(parameter, model, strategy.tp, strategy.etp);
    buffer.elements += elements;
    if (is_orthogonalised(parameter, strategy)) buffer.muon += elements;
  }
  buffer.padded = (buffer.elements + buffer.ranks - 1) / buffer.ranks * buffer.ranks;
  return buffer;
}

}  // namespace orrery
