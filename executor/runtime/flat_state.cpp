// SPDX-License-Identifier: Apache-2.0
#include "executor/runtime/flat_state.h"

#include "base/check.h"
#include "executor/kernels/elementwise.h"

#include <algorithm>
#include <numeric>
#include <set>

namespace orrery::executor {
namespace {

Matrix elements(std::vector<std::byte>& storage, DType dtype, std::int64_t first, std::int64_t count) {
  CHECK(first >= 0 && (first + count) * size_of(dtype) <= static_cast<std::int64_t>(storage.size()), first, count);
  return {storage.data() + first * size_of(dtype), dtype, 1, count, count};
}

}  // namespace

StateKind StateKind::of(FlatBufferKind kind, const Strategy& s) {
  const bool dense = kind == FlatBufferKind::dense;
  return {.kind = kind,
          .zero = dense ? s.zero_dense : s.zero_expert,
          .whole = dense ? Group::dp : Group::edp,
          .shard = dense ? Group::dp_shard : Group::edp_shard,
          .replica = dense ? Group::dp_replica : Group::edp_replica,
          .weight = compute_dtype(s),
          .gradient = s.grad_dtype,
          .wire = s.grad_wire_dtype};
}

FlatState::FlatState(const StepProgram& program, RankId rank, FlatBufferKind kind,
                     std::vector<LocalParameter> parameters)
    : kind_(StateKind::of(kind, program.strategy)),
      parameters_(std::move(parameters)),
      cut_order_(cut_order(parameters_)),
      shards_(cut_weights(cut_order_, parameters_), program.mesh.size(kind_.shard)),
      index_(program.mesh.index_in_group(kind_.shard, rank)),
      counts_(program.mesh.index_in_group(kind_.replica, rank) == 0),
      offloads_(program.strategy.offload_optimizer),
      padded_(std::accumulate(shards_.sizes().begin(), shards_.sizes().end(), std::int64_t{0})),
      num_updated_(shards_states() ? shards_.size(index_) : padded_) {
  const FlatBuffer layout = flat_buffer(program.model, stages_in_order(program.strategy, program.mesh, rank),
                                        program.strategy, program.mesh, kind);
  CHECK(layout.padded == padded_ && layout.ranks == shards_.num_ranks(), layout.padded, padded_, layout.ranks);
  const std::int64_t num_weights = shards_weights() ? shards_.size(index_) : padded_;
  const std::int64_t num_gradients = shards_gradients() ? shards_.size(index_) : padded_;
  place_in_cut_.resize(parameters_.size());
  for (std::size_t place = 0; place < cut_order_.size(); ++place) {
    place_in_cut_[static_cast<std::size_t>(cut_order_[place])] = place;
  }
  weights_.resize(static_cast<std::size_t>(num_weights * size_of(kind_.weight)));
  gradients_.resize(static_cast<std::size_t>(num_gradients * size_of(kind_.gradient)));
  // First moments, second moments, masters: as many second ones as AdamW updates elements, padding included.
  std::int64_t num_orthogonalised = 0;
  second_first_.resize(parameters_.size());
  for_each_updated([&](std::int64_t parameter, std::int64_t begin, std::int64_t count) {
    second_first_[static_cast<std::size_t>(parameter)] = state_at(parameter, begin) - num_orthogonalised;
    if (parameters_[static_cast<std::size_t>(parameter)].orthogonalised) num_orthogonalised += count;
  });
  num_second_ = num_updated_ - num_orthogonalised;
  states_.resize(static_cast<std::size_t>(num_updated_ + num_second_ + (has_master() ? num_updated_ : 0)));
}

std::int64_t FlatState::slot_of(std::int64_t parameter, std::int64_t begin) const {
  const OwnedRange& range = owned_of(parameter);
  CHECK(begin >= range.begin && begin <= range.begin + range.count, begin, range.begin, range.count);
  return range.slot + begin - range.begin;
}

std::int64_t FlatState::weight_at(std::int64_t parameter, std::int64_t begin) const {
  if (shards_weights()) return slot_of(parameter, begin);
  return parameters_[static_cast<std::size_t>(parameter)].first + begin;
}

std::int64_t FlatState::gradient_at(std::int64_t parameter, std::int64_t begin) const {
  if (shards_gradients()) return slot_of(parameter, begin);
  return parameters_[static_cast<std::size_t>(parameter)].first + begin;
}

std::int64_t FlatState::state_at(std::int64_t parameter, std::int64_t begin) const {
  if (shards_states()) return slot_of(parameter, begin);
  return parameters_[static_cast<std::size_t>(parameter)].first + begin;
}

Matrix FlatState::weights(std::int64_t parameter, std::int64_t begin, std::int64_t count) {
  return elements(weights_, kind_.weight, weight_at(parameter, begin), count);
}

Matrix FlatState::gradients(std::int64_t parameter, std::int64_t begin, std::int64_t count) {
  return elements(gradients_, kind_.gradient, gradient_at(parameter, begin), count);
}

Matrix FlatState::all_gradients() {
  return elements(gradients_, kind_.gradient, 0,
                  static_cast<std::int64_t>(gradients_.size()) / size_of(kind_.gradient));
}

void FlatState::start(std::int64_t parameter, ConstMatrix values) {
  const auto copy = [&](std::int64_t begin, std::int64_t count) {
    convert(values.col_block(begin, count), weights(parameter, begin, count));
  };
  const bool is_sharded = shards_states();
  const OwnedRange mine = is_sharded ? owned_of(parameter) : OwnedRange{.count = values.cols};
  shards_weights() ? copy(mine.begin, mine.count) : copy(0, values.cols);
  if (!has_master()) return;
  float* master = masters(states_.data(), parameter, mine.begin);
  convert(weights(parameter, mine.begin, mine.count), matrix_of(master, 1, mine.count));
}

void FlatState::add_squares(SquareSum& sum) {
  std::vector<float> storage;
  for_each_counted([&](std::int64_t parameter, std::int64_t begin, std::int64_t count) {
    const ConstMatrix values = widened(gradients(parameter, begin, count), storage);
    sum.add(row_span<float>(values, 0));
  });
}

float* FlatState::first_moments(float* states, std::int64_t parameter, std::int64_t begin) {
  return (states == nullptr ? states_.data() : states) + state_at(parameter, begin);
}

float* FlatState::masters(float* states, std::int64_t parameter, std::int64_t begin) {
  if (!has_master()) return static_cast<float*>(weights(parameter, begin, 0).first);
  return first_moments(states, parameter, begin) + num_updated_ + num_second_;
}

std::span<float> FlatState::kept(StatePart part, std::int64_t parameter, std::int64_t begin, std::int64_t count) {
  const auto size = static_cast<std::size_t>(count);
  const auto index = static_cast<std::size_t>(parameter);
  switch (part) {
    case StatePart::value:
      return {masters(nullptr, parameter, begin), size};
    case StatePart::first_moment:
      return {first_moments(nullptr, parameter, begin), size};
    case StatePart::second_moment:
      if (parameters_[index].orthogonalised) return {};
      const std::int64_t first_updated = shards_states() ? owned_of(parameter).begin : 0;
      return {states_.data() + num_updated_ + second_first_[index] + begin - first_updated, size};
  }
  CHECK(false, static_cast<int>(part));
}

void FlatState::update(const AdamWSettings& settings, std::int64_t step, float gradient_scale, float* states) {
  float* const seconds = (states == nullptr ? states_.data() : states) + num_updated_;
  std::vector<float> storage;
  for_each_updated([&](std::int64_t parameter, std::int64_t begin, std::int64_t count) {
    if (parameters_[static_cast<std::size_t>(parameter)].orthogonalised) return;
    const auto size = static_cast<std::size_t>(count);
    const ConstMatrix gradient = widened(gradients(parameter, begin, count), storage);
    float* const second = seconds + second_first_[static_cast<std::size_t>(parameter)];
    adamw_update(settings, step, gradient_scale, row_span<float>(gradient, 0),
                 {first_moments(states, parameter, begin), size}, {second, size},
                 {masters(states, parameter, begin), size}, weights(parameter, begin, count));
  });
}

void FlatState::orthogonalise(const Gemm& gemm, const MuonSettings& settings, std::int64_t shape, float gradient_scale,
                              float* states) {
  std::set<std::pair<std::int64_t, std::int64_t>> sides;  // the smaller and the larger one
  const auto sides_of = [](const LocalParameter& p) { return std::minmax({p.rows, p.cols}); };
  for (const LocalParameter& p : parameters_) {
    if (p.orthogonalised) sides.insert(sides_of(p));
  }
  const auto wanted = std::next(sides.begin(), shape);
  std::vector<float> storage;
  for_each_updated([&](std::int64_t parameter, std::int64_t begin, std::int64_t count) {
    const LocalParameter& p = parameters_[static_cast<std::size_t>(parameter)];
    if (!p.orthogonalised || std::pair<std::int64_t, std::int64_t>(sides_of(p)) != *wanted) return;
    CHECK(begin == 0 && count == p.size(), name_of(p.whole), begin, count);
    float* const momentum = first_moments(states, parameter, 0);
    const ConstMatrix gradient = widened(gradients(parameter, 0, count), storage);
    muon_momentum(settings, gradient_scale, row_span<float>(gradient, 0), {momentum, static_cast<std::size_t>(count)});
    std::vector<float>& direction = directions_[parameter];
    direction.resize(static_cast<std::size_t>(count));
    orthogonalize(gemm, matrix_of(momentum, p.rows, p.cols), matrix_of(direction.data(), p.rows, p.cols));
  });
}

void FlatState::update_orthogonalised(const MuonSettings& settings, float* states) {
  for (const auto& [parameter, direction] : directions_) {
    const LocalParameter& p = parameters_[static_cast<std::size_t>(parameter)];
    const Matrix flat = weights(parameter, 0, p.size());
    muon_update(settings, matrix_of(direction.data(), p.rows, p.cols),
                matrix_of(masters(states, parameter, 0), p.rows, p.cols),
                {flat.first, flat.dtype, p.rows, p.cols, p.cols});
  }
  directions_.clear();
}

void FlatState::clear_gradients() { std::fill(gradients_.begin(), gradients_.end(), std::byte{0}); }

std::int64_t FlatState::optimizer_bytes() const {
  return offloads_ ? 0 : static_cast<std::int64_t>(states_.size() * sizeof(float));
}

}  // namespace orrery::executor
