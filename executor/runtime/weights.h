// SPDX-License-Identifier: Apache-2.0
// What a rank keeps for the whole run: its weights, their gradients and the optimizer's states, in two flat buffers
// (flat_state.h), and the selection biases of its routers. Where ZeRO 2 or 3 keeps only shards, an op works on the
// whole weights or gradients of its unit, which live in tensors of the program as long as the program says.
#pragma once

#include "executor/kernels/matrix.h"
#include "executor/runtime/flat_state.h"
#include "executor/runtime/settings.h"
#include "program/step_program.h"

#include <array>
#include <map>
#include <span>
#include <utility>
#include <vector>

namespace orrery::executor {

/// Where an op takes its weights from: a unit of the model in a micro-batch (docs/design/ops.md, sharded parameters).
struct UnitId {
  std::int16_t layer = OpKey::kNoLayer;  // as in OpKey
  bool mtp_head = false;                 // the head behind prediction module `layer`
  std::int32_t micro_batch = -1;
  auto operator<=>(const UnitId&) const = default;
};

/// The unit of an op.
UnitId unit_of(const OpKey& key);

class Weights {
 public:
  /// Initialises the weights of `rank`: norms 1, all else normal, the same numbers for every layout.
  Weights(const StepProgram& program, RankId rank, const TrainingSettings& settings);

  /// The weight of `role` in `layer` (-1: embedding, final norm, head); of all local experts, one below the other.
  ConstMatrix weight(WeightRole role, std::int64_t layer, const UnitId& unit = {});
  /// Its gradient of the same shape, in the type of gradients or, with sharded gradients, in that in which they travel.
  Matrix gradient(WeightRole role, std::int64_t layer, const UnitId& unit = {});
  bool has(WeightRole role, std::int64_t layer) const { return places_.contains({role, layer}); }
  /// Selection bias of a router, f32; empty for models without.
  std::span<float> router_bias(std::int64_t layer);

  /// What of a kind is in a unit: indices of its parameters, in the order in which its whole buffer holds them.
  std::vector<std::int64_t> parameters_of(FlatBufferKind kind, const UnitId& unit) const;
  /// The whole weights of a unit are in `buffer` (1, elements) from now on.
  void gathered(FlatBufferKind kind, const UnitId& unit, Matrix buffer) { weights_of_unit_[{kind, unit}] = buffer; }
  /// Gradients of a unit are summed in `buffer` (1, elements) from now on; sets it to what came before it, or zero.
  void start_bucket(FlatBufferKind kind, const UnitId& unit, Matrix buffer);
  /// The memory of `buffer` ends: what of a unit was there is not found any more.
  void end_unit(const Matrix& buffer);

  FlatState& state(FlatBufferKind kind) { return states_[static_cast<std::size_t>(kind)]; }
  FlatState& dense() { return state(FlatBufferKind::dense); }
  FlatState& expert() { return state(FlatBufferKind::expert); }
  /// What is kept from step to step; biases of routers are weights.
  struct Kept {
    std::int64_t weights = 0, gradients = 0, optimizer = 0;  // bytes
    std::int64_t total() const { return weights + gradients + optimizer; }
  };
  Kept kept() const;

 private:
  struct Place {
    FlatBufferKind kind = FlatBufferKind::dense;
    std::int64_t parameter = 0;  // the first one, of experts that lie side by side
    std::int64_t rows = 0, cols = 0;
  };
  using KindAndUnit = std::pair<FlatBufferKind, UnitId>;
  const Place& place(WeightRole role, std::int64_t layer) const;
  /// First element of a place in the whole buffer of its unit.
  std::int64_t offset_in_unit(const Place& place, const UnitId& unit) const;
  /// The sums of a unit whose bucket is not there yet: of norms, where schedules split the backward.
  Matrix early_bucket(const Place& place, const UnitId& unit);

  std::int64_t num_layers_;
  bool tied_;
  std::vector<FlatState> states_;  // by kind
  std::map<std::pair<WeightRole, std::int64_t>, Place> places_;
  std::map<std::int64_t, std::vector<float>> router_biases_;
  std::map<KindAndUnit, Matrix> weights_of_unit_, bucket_of_unit_;
  std::map<KindAndUnit, std::vector<std::byte>> early_;
};

}  // namespace orrery::executor
