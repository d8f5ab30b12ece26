// SPDX-License-Identifier: Apache-2.0
#include "planner/explain/scaled_cost_model.h"

#include "costmodel/calibrated_cost_model.h"
#include "costmodel/forwarding_cost_model.h"
#include "costmodel/measured_kernels.h"

#include <utility>

namespace orrery::planner {
namespace {

using costmodel::Calibration;
using costmodel::CommTime;
using costmodel::CostModel;
using costmodel::Leg;
using costmodel::PathClass;

/// Answers of another model, with communication on other links.
class ScaledCommunication : public costmodel::ForwardingCostModel {
 public:
  ScaledCommunication(std::shared_ptr<const CostModel> model, Resource resource, double factor)
      : ForwardingCostModel(*model), model_(std::move(model)), resource_(resource), factor_(factor) {}

  CommTime collective(const CollectiveShape& shape, std::span<const DeviceIndex> members) const override {
    return scaled(ForwardingCostModel::collective(shape, members));
  }
  CommTime exchange(const ExchangeShape& shape, const RoutingMatrix& routing,
                    std::span<const DeviceIndex> members) const override {
    return scaled(ForwardingCostModel::exchange(shape, routing, members));
  }
  CommTime copy(const CopyShape& shape, DeviceIndex device) const override {
    CommTime time = ForwardingCostModel::copy(shape, device);
    if (resource_ == Resource::host_link) time.latency = time.latency / factor_;
    return time;
  }
  CommTime peer(const PeerShape& shape, DeviceIndex from, DeviceIndex to) const override {
    return scaled(ForwardingCostModel::peer(shape, from, to));
  }

 private:
  CommTime scaled(CommTime time) const {
    // Measured times of shared memory have no legs: they are the bandwidth within the domain.
    const bool whole = time.num_legs == 0;
    if (resource_ == Resource::latency && !whole) time.latency = time.latency * factor_;
    if (resource_ == Resource::scale_up && whole) time.latency = time.latency / factor_;
    for (Leg& leg : time.legs) {
      const bool inside = leg.path == PathClass::node;
      if (resource_ == (inside ? Resource::scale_up : Resource::network)) leg.bandwidth = leg.bandwidth * factor_;
    }
    return time;
  }

  std::shared_ptr<const CostModel> model_;
  Resource resource_;
  double factor_;
};

void scale_device(Device& device, Resource resource, double factor) {
  if (resource == Resource::arithmetic) {
    for (auto& [type, rate] : device.peak) rate = rate * factor;
  }
  if (resource == Resource::memory_bandwidth && device.memory_bandwidth) {
    device.memory_bandwidth = *device.memory_bandwidth * factor;
  }
}

bool is_arithmetic(const costmodel::OpPoint& point) { return !std::holds_alternative<MemoryShape>(point.shape); }

void scale_points(Calibration& calibration, Resource resource, double factor) {
  for (costmodel::OpPoint& point : calibration.points) {
    const Resource limit = is_arithmetic(point) ? Resource::arithmetic : Resource::memory_bandwidth;
    if (resource == limit) point.time = point.time / factor;
  }
}

void scale_launches(Calibration& calibration, double factor) {
  if (calibration.kernels) {
    calibration.kernels->kernel = calibration.kernels->kernel * factor;
    calibration.kernels->dispatch = calibration.kernels->dispatch * factor;
  }
  for (auto* launch : {&calibration.launch_gap, &calibration.launch_dispatch}) {
    if (*launch) (*launch)->value = (*launch)->value * factor;
  }
}

}  // namespace

std::shared_ptr<const CostModel> scaled_cost_model(const Plan& plan, const Calibration& calibration, Fp8Recipe recipe,
                                                   Resource resource, double factor) {
  const Device& device = plan.cluster.groups.front().device;
  const bool of_compute =
      resource == Resource::arithmetic || resource == Resource::memory_bandwidth || resource == Resource::launch;
  if (!of_compute) {
    return std::make_shared<ScaledCommunication>(
        std::make_shared<costmodel::CalibratedCostModel>(plan.cluster, calibration, recipe), resource, factor);
  }
  Cluster cluster = plan.cluster;
  Calibration changed = calibration;
  for (NodeGroup& group : cluster.groups) scale_device(group.device, resource, factor);
  if (resource == Resource::launch) scale_launches(changed, factor);
  auto measured = std::make_shared<const costmodel::MeasuredKernels>(calibration, device);
  if (!measured->over_form()) {
    scale_points(changed, resource, factor);
    measured = std::make_shared<const costmodel::MeasuredKernels>(changed, device);
  }
  return std::make_shared<costmodel::CalibratedCostModel>(cluster, changed, recipe, std::move(measured));
}

}  // namespace orrery::planner
