// SPDX-License-Identifier: Apache-2.0
// What a rank keeps for the whole run: its weights, their accumulated gradients and the optimizer's states, in the two
// flat buffers of program/flat_buffer.h, and the selection biases of its routers.
#pragma once

#include "executor/kernels/matrix.h"
#include "executor/runtime/settings.h"
#include "program/flat_buffer.h"
#include "program/parameters.h"
#include "program/step_program.h"

#include <map>
#include <span>
#include <utility>
#include <vector>

namespace orrery::executor {

/// One flat buffer of one rank with its states. Masters and moments cover the rank's shard with ZeRO, else everything.
class FlatState {
 public:
  FlatState(const FlatBuffer& layout, bool sharded, std::int64_t index_in_group, DType dtype);

  const FlatBuffer& layout() const { return layout_; }
  /// Elements that this rank squares for the gradient norm: always its shard.
  std::span<float> gradient_shard() { return std::span(gradients_).subspan(shard_begin_, shard_size_); }
  std::span<float> gradients() { return gradients_; }
  /// Weights of [first, first + count) elements as a (1, count) matrix.
  Matrix weights(std::int64_t first, std::int64_t count);
  std::span<std::byte> weight_bytes() { return weights_; }
  std::span<std::byte> weight_shard_bytes();

  /// Copies the initial weights into the masters; once, after initialisation.
  void start_masters();
  /// AdamW on what this rank updates; `step` counts from 1.
  void update(const AdamWSettings& settings, std::int64_t step, float gradient_scale);
  void clear_gradients();
  /// Weights, gradients, masters and moments.
  std::int64_t bytes() const;

 private:
  FlatBuffer layout_;
  DType dtype_;
  std::size_t shard_begin_, shard_size_;    // elements
  std::size_t update_begin_, update_size_;  // elements
  std::vector<std::byte> weights_;
  std::vector<float> gradients_;
  std::vector<float> master_;  // empty when the weights are f32 themselves
  std::vector<float> first_moment_, second_moment_;
};

class Weights {
 public:
  /// Initialises the weights of `rank`: norms 1, all else normal, the same numbers for every layout.
  Weights(const StepProgram& program, RankId rank, const TrainingSettings& settings);

  /// The weight of `role` in `layer` (-1: embedding, final norm, head); of all local experts, one below the other.
  ConstMatrix weight(WeightRole role, std::int64_t layer);
  /// Its gradient, f32 of the same shape.
  Matrix gradient(WeightRole role, std::int64_t layer);
  std::span<float> gradient_vector(WeightRole role, std::int64_t layer);
  /// Selection bias of a router, f32; empty for models without.
  std::span<float> router_bias(std::int64_t layer);

  FlatState& dense() { return dense_; }
  FlatState& expert() { return expert_; }
  std::int64_t bytes() const { return dense_.bytes() + expert_.bytes(); }

 private:
  struct Place {
    bool expert = false;
    std::int64_t first = 0;  // element of the flat buffer
    std::int64_t rows = 0, cols = 0;
  };
  const Place& place(WeightRole role, std::int64_t layer) const;
  FlatState& state(const Place& place) { return place.expert ? expert_ : dense_; }

  FlatState dense_, expert_;
  std::map<std::pair<WeightRole, std::int64_t>, Place> places_;
  std::map<std::int64_t, std::vector<float>> router_biases_;
};

}  // namespace orrery::executor
