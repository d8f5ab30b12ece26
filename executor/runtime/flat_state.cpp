// SPDX-License-Identifier: Apache-2.0
#include "executor/runtime/flat_state.h"

#include "base/check.h"
#include "executor/kernels/elementwise.h"

#include <algorithm>
#include <numeric>

namespace orrery::executor {
namespace {

/// Weights that are summed over other groups as well stand together, so that what a rank owns of each such sum is its
/// even share: first what two stages hold, then norms that heads share, then what all TP ranks hold.
int cut_class(const LocalParameter& p) {
  if (p.shared_by_stages) return 0;
  if (p.whole.split != Split::none) return 3;
  return p.whole.role == WeightRole::q_norm || p.whole.role == WeightRole::k_norm ? 1 : 2;
}

std::vector<std::int64_t> cut_order_of(std::span<const LocalParameter> parameters) {
  std::vector<std::int64_t> order(parameters.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
    return cut_class(parameters[static_cast<std::size_t>(a)]) < cut_class(parameters[static_cast<std::size_t>(b)]);
  });
  return order;
}

std::vector<std::int64_t> sizes_in(std::span<const std::int64_t> order, std::span<const LocalParameter> parameters) {
  std::vector<std::int64_t> sizes;
  for (const std::int64_t i : order) sizes.push_back(parameters[static_cast<std::size_t>(i)].size());
  return sizes;
}

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
      cut_order_(cut_order_of(parameters_)),
      shards_(sizes_in(cut_order_, parameters_), program.mesh.size(kind_.shard)),
      index_(program.mesh.index_in_group(kind_.shard, rank)),
      counts_(program.mesh.index_in_group(kind_.replica, rank) == 0),
      offloads_(program.strategy.offload_optimizer),
      padded_(shards_.shard() * shards_.num_ranks()),
      num_updated_(shards_states() ? shards_.shard() : padded_) {
  const FlatBuffer layout =
      flat_buffer(program.model, stages_in_order(program, rank), program.strategy, program.mesh, kind);
  CHECK(layout.padded == padded_ && layout.ranks == shards_.num_ranks(), layout.padded, padded_, layout.ranks);
  const std::int64_t num_weights = shards_weights() ? shards_.shard() : padded_;
  const std::int64_t num_gradients = shards_gradients() ? shards_.shard() : padded_;
  place_in_cut_.resize(parameters_.size());
  for (std::size_t place = 0; place < cut_order_.size(); ++place) {
    place_in_cut_[static_cast<std::size_t>(cut_order_[place])] = place;
  }
  weights_.resize(static_cast<std::size_t>(num_weights * size_of(kind_.weight)));
  gradients_.resize(static_cast<std::size_t>(num_gradients * size_of(kind_.gradient)));
  states_.resize(static_cast<std::size_t>((has_master() ? 3 : 2) * num_updated_));
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

template <class Work>
void FlatState::for_each_updated(Work&& work) const {
  if (shards_states()) {
    for (const OwnedRange& range : owned()) {
      if (range.count > 0) work(parameter_at(range), range.begin, range.count);
    }
    return;
  }
  for (std::size_t i = 0; i < parameters_.size(); ++i)
    work(static_cast<std::int64_t>(i), std::int64_t{0}, parameters_[i].size());
}

void FlatState::start(std::int64_t parameter, ConstMatrix values) {
  const auto copy = [&](std::int64_t begin, std::int64_t count) {
    convert(values.col_block(begin, count), weights(parameter, begin, count));
  };
  const bool is_sharded = shards_states();
  const OwnedRange mine = is_sharded ? owned_of(parameter) : OwnedRange{.count = values.cols};
  shards_weights() ? copy(mine.begin, mine.count) : copy(0, values.cols);
  if (!has_master()) return;
  float* master = states_.data() + 2 * num_updated_ + state_at(parameter, mine.begin);
  convert(weights(parameter, mine.begin, mine.count), matrix_of(master, 1, mine.count));
}

void FlatState::add_squares(SquareSum& sum) {
  if (!counts_) return;
  std::vector<float> storage;
  for (const OwnedRange& range : owned()) {
    const LocalParameter& p = parameters_[static_cast<std::size_t>(parameter_at(range))];
    if (p.stage_copy > 0) continue;
    // Of elements that several ranks hold, the first one counts them.
    const std::int64_t end = p.copy == 0 ? p.size() : p.copied_from;
    const std::int64_t count = std::min(range.begin + range.count, end) - range.begin;
    if (count <= 0) continue;
    const ConstMatrix values = widened(gradients(parameter_at(range), range.begin, count), storage);
    sum.add(row_span<float>(values, 0));
  }
}

void FlatState::update(const AdamWSettings& settings, std::int64_t step, float gradient_scale, float* states) {
  float* const base = states == nullptr ? states_.data() : states;
  std::vector<float> storage;
  for_each_updated([&](std::int64_t parameter, std::int64_t begin, std::int64_t count) {
    const Matrix model = weights(parameter, begin, count);
    const auto size = static_cast<std::size_t>(count);
    float* first = base + state_at(parameter, begin);
    float* master = has_master() ? first + 2 * num_updated_ : static_cast<float*>(model.first);
    const ConstMatrix gradient = widened(gradients(parameter, begin, count), storage);
    adamw_update(settings, step, gradient_scale, row_span<float>(gradient, 0), {first, size},
                 {first + num_updated_, size}, {master, size}, model);
  });
}

void FlatState::clear_gradients() { std::fill(gradients_.begin(), gradients_.end(), std::byte{0}); }

std::int64_t FlatState::bytes() const {
  const std::size_t states = offloads_ ? 0 : states_.size() * sizeof(float);
  return static_cast<std::int64_t>(weights_.size() + gradients_.size() + states);
}

}  // namespace orrery::executor
