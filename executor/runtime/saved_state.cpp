// SPDX-License-Identifier: Apache-2.0
#include "executor/runtime/saved_state.h"

#include "executor/kernels/elementwise.h"

#include <algorithm>

namespace orrery::executor {
namespace {

constexpr FlatBufferKind kKinds[] = {FlatBufferKind::dense, FlatBufferKind::expert};

/// The selection biases that a rank has, as parameters.
std::vector<LocalParameter> buffers_of(const StepProgram& program, RankId rank) {
  std::vector<LocalParameter> all = local_parameters(program.model, program.strategy, program.mesh, rank);
  std::erase_if(all, [](const LocalParameter& p) { return !p.whole.buffer; });
  return all;
}

/// Elements of what the rank holds of a weight.
std::vector<float> read_elements(const CheckpointReader& in, const std::string& name, StatePart part,
                                 const LocalParameter& p, std::int64_t begin, std::int64_t count) {
  std::vector<float> values(static_cast<std::size_t>(count));
  for (const LocalBox& local : local_boxes(p, begin, count)) {
    const auto first = static_cast<std::size_t>(local.first - begin);
    in.read(name, part, local.box, std::span(values).subspan(first, static_cast<std::size_t>(local.box.size())));
  }
  return values;
}

}  // namespace

std::map<std::string, TensorSize> tensors_of(const StepProgram& program) {
  std::map<std::string, TensorSize> tensors;
  for (const Parameter& p : rank_parameters(program.model, program.strategy.stages, 1, 0)) {
    tensors[stored_name(p, program.model.tied_embeddings)] = {p.rows, p.cols};
  }
  return tensors;
}

std::vector<PieceToWrite> saved_pieces(const StepProgram& program, RankId rank, Weights& weights) {
  std::vector<PieceToWrite> pieces;
  const bool tied = program.model.tied_embeddings;
  const auto add = [&](const LocalParameter& p, StatePart part, std::int64_t begin, std::span<const float> values) {
    const std::string name = stored_name(p.whole, tied);
    for (const LocalBox& local : local_boxes(p, begin, static_cast<std::int64_t>(values.size()))) {
      const auto own =
          values.subspan(static_cast<std::size_t>(local.first - begin), static_cast<std::size_t>(local.box.size()));
      pieces.push_back({{.tensor = name, .part = part, .box = local.box}, {own.begin(), own.end()}});
    }
  };
  for (const FlatBufferKind kind : kKinds) {
    FlatState& state = weights.state(kind);
    state.for_each_counted([&](std::int64_t parameter, std::int64_t begin, std::int64_t count) {
      for (const StatePart part : kStateParts) {
        add(state.parameters()[static_cast<std::size_t>(parameter)], part, begin,
            state.kept(part, parameter, begin, count));
      }
    });
  }
  if (program.mesh.index_in_group(Group::dp, rank) > 0) return pieces;
  for (const LocalParameter& p : buffers_of(program, rank)) {
    if (p.copy == 0) add(p, StatePart::value, 0, weights.router_bias(p.whole.layer));
  }
  return pieces;
}

void load_state(const StepProgram& program, RankId rank, const CheckpointReader& in, Weights& weights) {
  const bool tied = program.model.tied_embeddings;
  for (const FlatBufferKind kind : kKinds) {
    FlatState& state = weights.state(kind);
    const auto read = [&](StatePart part, std::int64_t parameter, std::int64_t begin, std::int64_t count) {
      const LocalParameter& p = state.parameters()[static_cast<std::size_t>(parameter)];
      return read_elements(in, stored_name(p.whole, tied), part, p, begin, count);
    };
    for (std::size_t i = 0; i < state.parameters().size(); ++i) {
      const auto parameter = static_cast<std::int64_t>(i);
      OwnedRange held{.count = state.parameters()[i].size()};
      if (state.shards_weights()) held = state.owned_of(parameter);
      const std::vector<float> values = read(StatePart::value, parameter, held.begin, held.count);
      convert(matrix_of(values.data(), 1, held.count), state.weights(parameter, held.begin, held.count));
    }
    state.for_each_updated([&](std::int64_t parameter, std::int64_t begin, std::int64_t count) {
      for (const StatePart part : kStateParts) {
        const std::span<float> kept = state.kept(part, parameter, begin, count);
        if (!kept.empty()) std::ranges::copy(read(part, parameter, begin, count), kept.begin());
      }
    });
  }
  for (const LocalParameter& p : buffers_of(program, rank)) {
    const std::vector<float> values = read_elements(in, stored_name(p.whole, tied), StatePart::value, p, 0, p.size());
    std::ranges::copy(values, weights.router_bias(p.whole.layer).begin());
  }
}

}  // namespace orrery::executor
