// SPDX-License-Identifier: Apache-2.0
// A step time good enough to say which of two changes costs more, and no better: arithmetic at half the peak rate,
// messages at the nominal bandwidth of the widest link they cross, nothing overlapped, bubbles by the formulas of
// docs/design/schedules.md for F = I = W. It needs no calibration, so `orrery fit` can have it in microseconds. It is
// no prediction: those are `orrery estimate` and `orrery simulate`.
#pragma once

#include "base/units.h"
#include "program/plan.h"

#include <cstdint>
#include <set>

namespace orrery::planner {

class RoughTime {
 public:
  /// Requires: `plan` outlives this.
  explicit RoughTime(const Plan& plan);

  /// Of a step of the plan's model and batch on its devices.
  /// Requires: the strategy is legal there.
  Seconds step(const Strategy& strategy) const;

 private:
  /// Forward work of one layer for one token, tensor and expert parallelism aside.
  struct LayerWork {
    double flops = 0.0;
    double mla_up_flops = 0.0, core_flops = 0.0, ffn_flops = 0.0, shared_flops = 0.0;  // parts of it
    double norm_bytes = 0.0, act_bytes = 0.0;                  // memory traffic of the two modules that are no products
    std::int64_t dense_parameters = 0, expert_parameters = 0;  // of all experts
  };

  LayerWork work_of_layer(std::int64_t layer) const;
  /// Arithmetic, and passes over its communication, that recomputation adds to a layer; in forwards of the layer.
  Seconds recompute_time(const LayerWork& work, bool moe, const std::set<RecomputeModule>& modules,
                         const Strategy& s) const;
  /// Messages of one forward of a layer for one token.
  Seconds message_time(const Strategy& s, bool moe) const;
  Seconds compute_time(double flops, const Strategy& s) const;
  BytesPerSecond bandwidth(std::int64_t num_neighbours) const;
  Seconds micro_batch_time(const Strategy& s) const;
  Seconds exchange_time(const Strategy& s, std::int64_t num_micro_batches) const;

  const Plan& plan_;
  const NodeGroup& group_;
  LayerWork dense_, moe_;
  double head_flops_ = 0.0;
  std::int64_t num_dense_ = 0, num_moe_ = 0;
};

}  // namespace orrery::planner
