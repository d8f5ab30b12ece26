// SPDX-License-Identifier: Apache-2.0
#include "executor/runtime/saved_state.h"

#include "executor/kernels/elementwise.h"

#include <algorithm>

namespace orrery::executor {
namespace {

constexpr FlatBufferKind kKinds[] = {FlatBufferKind::dense, FlatBufferKind::expert};

/// The selection biases that a rank has, as parameters.
std::vector<LocalParameter> buffers_of(const StepProgram& program, RankId rank) {
  std::vector<LocalParameter> all = local_parameters(program, rank);
  std::erase_if(all, [](const LocalParameter& p) { return !p.whole.buffer; });
  return all;
}

/// Elements of what the rank holds of a weight.
std::vector<float> read_elements(const ReadWeight& read, const LocalParameter& p, bool tied, std::int64_t begin,
                                 std::int64_t count) {
  const Parameter stored = stored_parameter(p.whole, tied);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (const LocalBox& local : local_boxes(p, begin, count)) {
    const auto first = static_cast<std::size_t>(local.first - begin);
    read(stored, local.box, std::span(values).subspan(first, static_cast<std::size_t>(local.box.size())));
  }
  return values;
}

}  // namespace

std::vector<Parameter> whole_parameters(const StepProgram& program) {
  return rank_parameters(program.model, program.strategy.stages, 1, 0);
}

std::map<std::string, TensorSize> tensors_of(const StepProgram& program) {
  std::map<std::string, TensorSize> tensors;
  for (const Parameter& p : whole_parameters(program)) {
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

void load_weights(const StepProgram& program, RankId rank, const ReadWeight& read, Weights& weights) {
  const bool tied = program.model.tied_embeddings;
  for (const FlatBufferKind kind : kKinds) {
    FlatState& state = weights.state(kind);
    std::vector<OwnedRange> updated(state.parameters().size());
    state.for_each_updated([&](std::int64_t parameter, std::int64_t begin, std::int64_t count) {
      updated[static_cast<std::size_t>(parameter)] = {.begin = begin, .count = count};
    });
    for (std::size_t i = 0; i < updated.size(); ++i) {
      const auto parameter = static_cast<std::int64_t>(i);
      const LocalParameter& p = state.parameters()[i];
      OwnedRange held{.count = p.size()};
      if (state.shards_weights()) held = state.owned_of(parameter);
      const std::vector<float> values = read_elements(read, p, tied, held.begin, held.count);
      convert(matrix_of(values.data(), 1, held.count), state.weights(parameter, held.begin, held.count));
      const OwnedRange& own = updated[i];
      if (own.count == 0) continue;
      std::copy_n(values.begin() + (own.begin - held.begin), own.count,
                  state.kept(StatePart::value, parameter, own.begin, own.count).begin());
    }
  }
  for (const LocalParameter& p : buffers_of(program, rank)) {
    std::ranges::copy(read_elements(read, p, tied, 0, p.size()), weights.router_bias(p.whole.layer).begin());
  }
}

void load_state(const StepProgram& program, RankId rank, const CheckpointReader& in, Weights& weights) {
  const auto read_part = [&](StatePart part) {
    return [&in, part](const Parameter& weight, const Box& box, std::span<float> out) {
      in.read(name_of(weight), part, box, out);
    };
  };
  load_weights(program, rank, read_part(StatePart::value), weights);
  const bool tied = program.model.tied_embeddings;
  for (const FlatBufferKind kind : kKinds) {
    FlatState& state = weights.state(kind);
    state.for_each_updated([&](std::int64_t parameter, std::int64_t begin, std::int64_t count) {
      const LocalParameter& p = state.parameters()[static_cast<std::size_t>(parameter)];
      for (const StatePart part : {StatePart::first_moment, StatePart::second_moment}) {
        const std::span<float> kept = state.kept(part, parameter, begin, count);
        if (!kept.empty()) std::ranges::copy(read_elements(read_part(part), p, tied, begin, count), kept.begin());
      }
    });
  }
}

}  // namespace orrery::executor
