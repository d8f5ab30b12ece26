// SPDX-License-Identifier: Apache-2.0
// The cost model of real clusters: operator curves and collectives from a calibration, ports from the cluster.
#pragma once

#include "costmodel/calibration.h"
#include "costmodel/collective_model.h"
#include "costmodel/cost_model.h"
#include "costmodel/operator_curves.h"
#include "program/plan.h"

#include <memory>
#include <optional>
#include <span>

namespace orrery::costmodel {

/// Whether `calibration` says that it is of a device other than `device`; one that gives a name alone does not say.
bool is_of_another_device(const Calibration& calibration, const Device& device);

/// Whether two boards may draw different power, as far as both limits are known.
bool are_different_limits(const std::optional<Watts>& a, const std::optional<Watts>& b);

class CalibratedCostModel : public CostModel {
 public:
  /// CPU points were taken with a number of ranks busy at once: on a cluster with another number of CPU ranks
  /// everything is extrapolated. So is everything on another device, and computing under another power limit.
  CalibratedCostModel(const Cluster& cluster, const Calibration& calibration, Fp8Recipe recipe = Fp8Recipe::tensorwise);
  /// Of a plan: its cluster, and fp8 as its strategy scales it.
  CalibratedCostModel(const Plan& plan, const Calibration& calibration);
  /// With the points of a calibration that others ask too.
  CalibratedCostModel(const Cluster& cluster, const Calibration& calibration, Fp8Recipe recipe,
                      std::shared_ptr<const MeasuredKernels> measured);

  OpTime compute(const OpKey& key, const OpShape& shape, const ResolvedLoad& load, DeviceIndex device) const override;
  CommTime collective(const CollectiveShape& shape, std::span<const DeviceIndex> members) const override;
  CommTime exchange(const ExchangeShape& shape, const RoutingMatrix& routing,
                    std::span<const DeviceIndex> members) const override;
  /// What the calibration states, else what they need.
  std::optional<double> held_by(const ExchangeShape& shape, std::int64_t num_experts,
                                std::span<const DeviceIndex> members) const override;
  std::optional<double> slowdown_beside(double held, const OpKey& key, const OpShape& shape, const ResolvedLoad& load,
                                        DeviceIndex device) const override;
  CommTime copy(const CopyShape& shape, DeviceIndex device) const override;
  CommTime peer(const PeerShape& shape, DeviceIndex from, DeviceIndex to) const override;
  OverlapRule overlap(DeviceIndex device) const override;
  Seconds dispatch(const OpKey& key, const OpShape& shape) const override;

 private:
  const Device& device_of(DeviceIndex device) const;
  bool is_cpu() const;  // any of its devices

  Cluster cluster_;
  OperatorCurves curves_;
  CollectiveModel collectives_;
  bool other_conditions_ = false;            // than the calibration's
  bool other_power_ = false;                 // which acts on what computes
  std::optional<KernelParameters> kernels_;  // absent: nothing is known of the host, which is taken to be in time
};

}  // namespace orrery::costmodel
