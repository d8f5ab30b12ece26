// SPDX-License-Identifier: Apache-2.0
#include "costmodel/calibrated_cost_model.h"

#include "costmodel/exchange_multiprocessors.h"
#include "costmodel/host_time.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <variant>

namespace orrery::costmodel {
namespace {

// Kernels of a communication library take multiprocessors from compute: 18.9 % slower on average over A100, H100,
// MI210 and MI250, up to 40 %. Source: arXiv 2507.03114, as in docs/design/overlap.md.
constexpr double kGpuComputeSlowdown = 0.19;

template <class Time>
Time marked(Time time, bool other_conditions) {
  time.extrapolated = time.extrapolated || other_conditions;
  return time;
}

// Limits nearer than this are one: some tools round them to watts.
constexpr double kSameLimit = 0.01;

}  // namespace

bool is_of_another_device(const Calibration& calibration, const Device& device) {
  const auto* measured = std::get_if<Device>(&calibration.device);
  return measured != nullptr && measured->name != device.name;
}

bool are_different_limits(const std::optional<Watts>& a, const std::optional<Watts>& b) {
  return a && b && std::abs(*a / *b - 1.0) > kSameLimit;
}

CalibratedCostModel::CalibratedCostModel(const Cluster& cluster, const Calibration& calibration, Fp8Recipe recipe)
    : CalibratedCostModel(cluster, calibration, recipe,
                          std::make_shared<MeasuredKernels>(calibration, cluster.groups.front().device)) {}

CalibratedCostModel::CalibratedCostModel(const Plan& plan, const Calibration& calibration)
    : CalibratedCostModel(plan.cluster, calibration, plan.strategy.fp8_recipe) {
  other_conditions_ = other_conditions_ || (is_cpu() && plan.num_ranks() != calibration.conditions.active_ranks);
}

CalibratedCostModel::CalibratedCostModel(const Cluster& cluster, const Calibration& calibration, Fp8Recipe recipe,
                                         std::shared_ptr<const MeasuredKernels> measured)
    : cluster_(cluster), curves_(calibration, std::move(measured), recipe), collectives_(cluster, calibration) {
  other_conditions_ = is_cpu() && cluster_.num_devices() != calibration.conditions.active_ranks;
  for (const NodeGroup& group : cluster_.groups) {
    other_conditions_ = other_conditions_ || is_of_another_device(calibration, group.device);
    other_power_ = other_power_ || are_different_limits(group.device.power_limit, calibration.conditions.power_limit);
  }
  kernels_ = kernels_in_training(calibration);
}

bool CalibratedCostModel::is_cpu() const {
  return std::any_of(cluster_.groups.begin(), cluster_.groups.end(),
                     [](const NodeGroup& group) { return group.device.kind == DeviceKind::cpu; });
}

Seconds CalibratedCostModel::dispatch(const OpKey& key, const OpShape& shape) const {
  if (!kernels_ || kernels_->dispatch == Seconds::zero()) return {};
  return kernels_->dispatch * num_kernels(key, shape, *kernels_);
}

const Device& CalibratedCostModel::device_of(DeviceIndex device) const {
  return cluster_.groups[cluster_.locate(device).group].device;
}

OpTime CalibratedCostModel::compute(const OpKey& key, const OpShape& shape, const ResolvedLoad& load,
                                    DeviceIndex device) const {
  return marked(curves_.time_of(key, shape, load, device_of(device)), other_conditions_ || other_power_);
}

CommTime CalibratedCostModel::collective(const CollectiveShape& shape, std::span<const DeviceIndex> members) const {
  return marked(collectives_.collective(shape, members), other_conditions_);
}

CommTime CalibratedCostModel::exchange(const ExchangeShape& shape, const RoutingMatrix& routing,
                                       std::span<const DeviceIndex> members) const {
  return marked(collectives_.exchange(shape, routing, members), other_conditions_);
}

std::optional<double> CalibratedCostModel::held_by(const ExchangeShape& shape, std::int64_t num_experts,
                                                   std::span<const DeviceIndex> members) const {
  if (!kernels_ || !shape.two_level) return std::nullopt;
  if (kernels_->exchange_holds) return kernels_->exchange_holds;
  const auto needed = needed_multiprocessors(cluster_, shape, num_experts, members);
  return needed ? std::optional(static_cast<double>(*needed)) : std::nullopt;
}

std::optional<double> CalibratedCostModel::slowdown_beside(double held, const OpKey& key, const OpShape& shape,
                                                           const ResolvedLoad& load, DeviceIndex device) const {
  return curves_.slowdown_beside(held, key, shape, load, device_of(device));
}

CommTime CalibratedCostModel::copy(const CopyShape& shape, DeviceIndex device) const {
  return collectives_.copy(shape, device);
}

CommTime CalibratedCostModel::peer(const PeerShape& shape, DeviceIndex from, DeviceIndex to) const {
  return marked(collectives_.peer(shape, from, to), other_conditions_);
}

OverlapRule CalibratedCostModel::overlap(DeviceIndex device) const {
  // A CPU rank computes and communicates with the same cores: while both run, each has half of them.
  if (device_of(device).kind == DeviceKind::cpu) return {.compute_slowdown = 1.0, .comm_slowdown = 1.0};
  return {.compute_slowdown = kGpuComputeSlowdown, .comm_slowdown = 0.0};
}

}  // namespace orrery::costmodel
