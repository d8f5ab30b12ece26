// SPDX-License-Identifier: Apache-2.0
// One of the two flat buffers of a rank (program/flat_buffer.h) with its states. What is whole and what is a shard
// follows from the ZeRO stage of its kind: 1 divides masters and moments, 2 gradients as well, 3 also weights. In a
// group of one rank nothing is divided.
#pragma once

#include "executor/checkpoint/manifest.h"
#include "executor/kernels/adamw.h"
#include "executor/kernels/matrix.h"
#include "executor/kernels/muon.h"
#include "executor/kernels/square_sum.h"
#include "program/local_parameters.h"
#include "program/shard_layout.h"
#include "program/step_program.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

namespace orrery::executor {

/// The groups, types and the ZeRO stage of one kind of parameters.
struct StateKind {
  FlatBufferKind kind = FlatBufferKind::dense;
  int zero = 0;
  Group whole = Group::dp, shard = Group::dp_shard, replica = Group::dp_replica;
  DType weight = DType::f32, gradient = DType::f32, wire = DType::f32;

  static StateKind of(FlatBufferKind kind, const Strategy& strategy);
};

class FlatState {
 public:
  /// `parameters`: the trained ones of this kind.
  FlatState(const StepProgram& program, RankId rank, FlatBufferKind kind, std::vector<LocalParameter> parameters);

  const StateKind& kind() const { return kind_; }
  const ShardLayout& shards() const { return shards_; }
  std::span<const LocalParameter> parameters() const { return parameters_; }
  /// Whether gradients (ZeRO 2, 3) or also weights (ZeRO 3) are exchanged unit by unit, and only shards are kept.
  bool shards_gradients() const { return kind_.zero >= 2 && shards_.num_ranks() > 1; }
  bool shards_weights() const { return kind_.zero == 3 && shards_.num_ranks() > 1; }
  /// The weight at one place in the order of the cut.
  std::int64_t parameter_at(const OwnedRange& range) const {
    return cut_order_[static_cast<std::size_t>(range.parameter)];
  }

  /// Values of a weight from its element `begin` on, as a (1, count) matrix; with sharded weights only what is owned.
  Matrix weights(std::int64_t parameter, std::int64_t begin, std::int64_t count);
  /// The same of its gradient; with sharded gradients only what is owned.
  Matrix gradients(std::int64_t parameter, std::int64_t begin, std::int64_t count);
  /// All gradients that are here, padding included, as a (1, n) matrix.
  Matrix all_gradients();
  /// What this rank owns of the group's weights.
  std::span<const OwnedRange> owned() const { return shards_.of(index_); }
  const OwnedRange& owned_of(std::int64_t parameter) const { return range_of(parameter, index_); }
  /// What `rank` of the group that shares shards owns of a weight.
  const OwnedRange& range_of(std::int64_t parameter, std::int64_t rank) const {
    return shards_.of(rank)[place_in_cut_[static_cast<std::size_t>(parameter)]];
  }

  /// Gives a weight its first values, (1, size) f32 or bf16; keeps what this rank holds.
  void start(std::int64_t parameter, ConstMatrix values);
  /// Adds the squares of the gradients that no other rank counts.
  void add_squares(SquareSum& sum);
  /// AdamW on what this rank updates and Muon does not; `step` counts from 1. `states`: where they are now, if not
  /// here.
  void update(const AdamWSettings& settings, std::int64_t step, float gradient_scale, float* states = nullptr);
  /// Momentum and direction of the matrices of the `shape`-th pair of sides, smaller ones first, as the program's
  /// batched products have them; then the step of all of them.
  void orthogonalise(const Gemm& gemm, const MuonSettings& settings, std::int64_t shape, float gradient_scale,
                     float* states = nullptr);
  void update_orthogonalised(const MuonSettings& settings, float* states = nullptr);
  void clear_gradients();

  /// Calls work(parameter, begin, count) for what this rank updates.
  template <class Work>
  void for_each_updated(Work&& work) const;
  /// The same for what this rank stands for: together the ranks stand for each element of the model once.
  template <class Work>
  void for_each_counted(Work&& work) const;
  /// What is kept of elements that this rank updates: masters (or the weights, if they are f32) and moments. Muon has
  /// no second moment of its matrices: an empty span.
  std::span<float> kept(StatePart part, std::int64_t parameter, std::int64_t begin, std::int64_t count);

  /// Masters and moments, as they travel to and from a host.
  std::span<float> states() { return states_; }
  /// What is kept from step to step; of masters and moments, what an optimizer has on its host does not count.
  std::int64_t weight_bytes() const { return static_cast<std::int64_t>(weights_.size()); }
  std::int64_t gradient_bytes() const { return static_cast<std::int64_t>(gradients_.size()); }
  std::int64_t optimizer_bytes() const;

 private:
  std::int64_t weight_at(std::int64_t parameter, std::int64_t begin) const;
  std::int64_t gradient_at(std::int64_t parameter, std::int64_t begin) const;
  std::int64_t state_at(std::int64_t parameter, std::int64_t begin) const;
  /// Place in the shard of an owned element.
  std::int64_t slot_of(std::int64_t parameter, std::int64_t begin) const;
  bool has_master() const { return kind_.weight != DType::f32; }
  bool shards_states() const { return kind_.zero >= 1; }
  float* first_moments(float* states, std::int64_t parameter, std::int64_t begin);
  /// Masters of some elements, or the weights themselves.
  float* masters(float* states, std::int64_t parameter, std::int64_t begin);

  StateKind kind_;
  std::vector<LocalParameter> parameters_;
  std::vector<std::int64_t> cut_order_;    // indices of parameters
  std::vector<std::size_t> place_in_cut_;  // the inverse
  ShardLayout shards_;
  std::int64_t index_;  // in the group that shares shards
  bool counts_;         // the norm counts one instance of hybrid sharding
  bool offloads_;       // masters and moments are the host's
  std::int64_t padded_, num_updated_, num_second_ = 0;
  std::vector<std::int64_t> second_first_;                 // by parameter: its first second moment
  std::map<std::int64_t, std::vector<float>> directions_;  // by parameter: what Muon will add
  std::vector<std::byte> weights_, gradients_;
  std::vector<float> states_;  // first moments, second moments, masters
};

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

template <class Work>
void FlatState::for_each_counted(Work&& work) const {
  if (!counts_) return;
  for (const OwnedRange& range : owned()) {
    const LocalParameter& p = parameters_[static_cast<std::size_t>(parameter_at(range))];
    if (p.stage_copy > 0) continue;
    // Of elements that several ranks hold, the first one counts them.
    const std::int64_t end = p.copy == 0 ? p.size() : p.copied_from;
    const std::int64_t count = std::min(range.begin + range.count, end) - range.begin;
    if (count > 0) work(parameter_at(range), range.begin, count);
  }
}

}  // namespace orrery::executor
