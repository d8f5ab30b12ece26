// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/curve_machine.h"

#include "base/median.h"
#include "costmodel/collective_fit.h"
#include "costmodel/collective_model.h"
#include "costmodel/validation/run_cluster.h"

#include <algorithm>
#include <cmath>
#include <string_view>
#include <tuple>

namespace orrery::costmodel {
namespace {

constexpr Bytes kLargestFitted = 64.0 * unit::mebibyte;
constexpr std::int64_t kMostNodes = 2;

CollectiveShape shape_of(const Curve& curve, const CurvePoint& point) {
  CollectiveShape out{.kind = CollectiveKind::all_reduce, .group = Group::world};
  if (curve.op == "all_gather") out.kind = CollectiveKind::all_gather;
  if (curve.op == "reduce_scatter") out.kind = CollectiveKind::reduce_scatter;
  if (curve.op == "all_to_all") out.kind = CollectiveKind::all_to_all;
  out.bytes = static_cast<std::int64_t>(point.size.in(unit::byte));
  return out;
}

CommTime exchange_of(const CollectiveModel& model, const TokenExchange& tokens, const CurvePoint& point,
                     std::span<const DeviceIndex> members) {
  const std::int64_t pairs = tokens.tokens * tokens.top_k;
  const RoutingMatrix matrix =
      routing(BalancedLoad{}, {.group = point.ranks, .num_experts = tokens.num_experts, .pairs_per_rank = pairs});
  ExchangeShape shape{.rows = {Rows::Kind::routed, pairs}, .row_bytes = tokens.row_bytes};
  shape.to_experts = tokens.to_experts;
  shape.two_level = true;
  shape.top_k = tokens.top_k;
  shape.num_groups = point.nodes;
  shape.top_k_groups = tokens.top_k_groups == 0 ? point.nodes : std::min(tokens.top_k_groups, point.nodes);
  return model.exchange(shape, matrix, members);
}

Seconds time_of(const CollectiveModel& model, const Curve& curve, const CurvePoint& point) {
  std::vector<DeviceIndex> members;
  for (std::int64_t i = 0; i < point.ranks; ++i) members.emplace_back(static_cast<std::int32_t>(i));
  if (curve.tokens) return exchange_of(model, *curve.tokens, point, members).alone();
  return model.collective(shape_of(curve, point), members).alone();
}

CollectiveModel model_of(const CurveMachine& machine, const NetworkNumbers& network, const Curve& curve,
                         const CurvePoint& point, const Device& device) {
  CurveMachine with = machine;
  with.curves.clear();
  with.network = network;
  if (!with.calibration.kernels) with.calibration.kernels.emplace();
  with.calibration.kernels->network = network.fraction;
  return {with.cluster_of(curve, point, device), with.calibration};
}

/// EFA, InfiniBand, RoCE, ConnectX alone ("CX7"): what a NIC's hop depends on.
std::string_view kind_of(std::string_view network) {
  for (const std::string_view kind : {"EFA", "InfiniBand", "RoCE", "CX7"}) {
    if (network.find(kind) != std::string_view::npos) return kind;
  }
  return "";
}

BytesPerSecond rate_of_device(const NodeGroup& group) {
  return *group.nics->each * static_cast<double>(group.nics->per_node) / static_cast<double>(group.devices_per_node);
}

/// Points of its table and of its curves that may be fitted to, those of its curves instead of the table's.
void calibrate(CurveMachine& machine, std::optional<Calibration> table) {
  if (table) machine.calibration = std::move(*table);
  Calibration& calibration = machine.calibration;
  calibration.factors.reset();
  calibration.fits.clear();
  auto& points = calibration.collectives;
  std::erase_if(points, [](const CollectiveMeasurement& point) {
    return point.bytes > kLargestFitted || point.nodes > kMostNodes || point.path != "node";
  });
  std::vector<CollectiveMeasurement> own;
  for (const Curve* curve : machine.curves) {
    for (const CurvePoint& point : curve->points) {
      if (point.nodes > 1 || !is_for_fit(*curve, point)) continue;
      own.push_back({.op = curve->op,
                     .path = "node",
                     .ranks = point.ranks,
                     .nodes = 1,
                     .bytes = point.size,
                     .time = point.time,
                     .source = curve->source});
    }
  }
  for (const CollectiveMeasurement& point : own) {
    // A table of small messages, of a device of the same library, stays beside exchanges that have only large ones.
    std::erase_if(points, [&](const CollectiveMeasurement& other) {
      return other.op == point.op && other.source != point.source && point.bytes <= kLargestFitted;
    });
  }
  points.insert(points.end(), own.begin(), own.end());
}

/// Fit points over two nodes with a model that `network` makes.
template <class Visit>
void for_two_nodes(const CurveMachine& machine, const Device& device, const NetworkNumbers& network, bool of_tokens,
                   const Visit& visit) {
  for (const Curve* curve : machine.curves) {
    if (curve->tokens.has_value() != of_tokens) continue;
    std::optional<CollectiveModel> model;  // one serves all sizes of a curve
    for (const CurvePoint& point : curve->points) {
      if (point.nodes != kMostNodes || !is_for_fit(*curve, point)) continue;
      if (!model) model.emplace(model_of(machine, network, *curve, point, device));
      visit(point, time_of(*model, *curve, point));
    }
  }
}

/// The argument between `low` and `high` with the least value, by steps of one per cent.
template <class Value>
double least_at(double low, double high, const Value& value) {
  double best = low, least = value(low);
  const int num_steps = static_cast<int>(std::log(high / low) / std::log(1.01));
  for (int step = 1; step <= num_steps; ++step) {
    const double x = low * std::pow(1.01, step), at = value(x);
    if (at < least) std::tie(best, least) = std::pair(x, at);
  }
  return best;
}

/// Messages of up to 64 MiB over two nodes tell the hop: they wait for starts, and what they reach of a NIC is far from
/// its steady rate. Exchanges of tokens are large enough to tell that, where the NIC is what they wait for.
void fit_network(CurveMachine& machine, const Device& device) {
  NetworkNumbers& network = machine.network;
  const auto distance = [&](const NetworkNumbers& tried, bool of_tokens) {
    double sum = 0.0;
    for_two_nodes(machine, device, tried, of_tokens,
                  [&](const CurvePoint& point, Seconds time) { sum += std::pow(std::log(time / point.time), 2); });
    return sum;
  };
  std::size_t num_messages = 0, num_tokens = 0;
  bool is_start_told = false;
  for_two_nodes(machine, device, network, false, [&](const CurvePoint& point, Seconds) {
    ++num_messages;
    is_start_told = is_start_told || point.size <= kLargestStart;
  });
  for_two_nodes(machine, device, network, true, [&](const CurvePoint&, Seconds) { ++num_tokens; });
  const auto with_hop = [&](double hop) {
    NetworkNumbers tried = network;
    tried.hop = microseconds(hop);
    return tried;
  };
  const auto with_fraction = [&](double fraction) {
    NetworkNumbers tried = network;
    tried.fraction = fraction;
    return tried;
  };
  if (is_start_told) {
    network.hop = microseconds(least_at(1.0, 200.0, [&](double hop) { return distance(with_hop(hop), false); }));
    network.num_points = num_messages;
  }
  if (num_tokens > 0 && distance(network, true) != distance(with_fraction(1.0), true)) {
    network.fraction = least_at(0.2, 1.0, [&](double fraction) { return distance(with_fraction(fraction), true); });
    network.num_points += num_tokens;
  }
  if (network.num_points == 0) return;
  std::vector<double> errors;
  for (const bool of_tokens : {false, true}) {
    for_two_nodes(machine, device, network, of_tokens,
                  [&](const CurvePoint& point, Seconds time) { errors.push_back(std::abs(time / point.time - 1.0)); });
  }
  network.residual = median(errors);
}

void borrow_networks(std::vector<CurveMachine>& machines, const DeviceLookup& device_of) {
  const auto rate = [&](const CurveMachine& machine) {
    const Curve& curve = *machine.curves.front();
    const Cluster cluster = machine.cluster_of(curve, curve.points.front(), *device_of(machine.device));
    return rate_of_device(cluster.groups.front()).in(unit::byte_per_second);
  };
  for (CurveMachine& machine : machines) {
    const std::string_view kind = kind_of(machine.curves.front()->network);
    if (machine.network.num_points > 0 || kind.empty()) continue;
    const CurveMachine* nearest = nullptr;
    const auto apart = [&](const CurveMachine& other) { return std::abs(std::log(rate(other) / rate(machine))); };
    for (const CurveMachine& other : machines) {
      const bool is_like = other.network.num_points > 0 && kind_of(other.curves.front()->network) == kind;
      if (is_like && (!nearest || apart(other) < apart(*nearest))) nearest = &other;
    }
    if (!nearest) continue;
    machine.network = nearest->network;
    machine.network.num_points = 0;
    machine.network.like = nearest->name;
  }
}

std::string name_of(const Curve& curve) {
  std::string name = curve.gpu;
  for (const std::string& part : {curve.network, curve.library}) {
    if (!part.empty()) name += ", " + part;
  }
  return name;
}

}  // namespace

bool is_for_fit(const Curve& curve, const CurvePoint& point) {
  return point.nodes <= kMostNodes && (curve.tokens || point.size <= kLargestFitted);
}

Cluster CurveMachine::cluster_of(const Curve& curve, const CurvePoint& point, const Device& of_catalog) const {
  PublishedRun run;
  run.id = name;
  run.gpu = device.starts_with("mi") ? "MI" : curve.gpu;
  if (curve.gpu.starts_with("SM")) run.gpu = "H100";  // servers of eight, as that table has them
  run.num_gpus = point.ranks;
  run.gpus_per_node = curve.devices_per_node.value_or(std::max<std::int64_t>(point.ranks / point.nodes, 8));
  run.interconnect_inter = curve.network;
  Cluster out = costmodel::cluster_of(run, of_catalog);
  out.groups.front().nics->latency = network.hop;
  return out;
}

std::string device_of_curve(const std::string& gpu) {
  // SM90 and SM100 are names of generations: with eight on NVLink, H100 and B200.
  constexpr std::pair<std::string_view, std::string_view> kDevices[] = {
      {"A100", "a100"},     {"H100", "h100"},     {"H200", "h200"},   {"H800", "h800"}, {"GB200", "gb200"},
      {"B200", "b200"},     {"B300", "b300"},     {"V100", "v100"},   {"SM90", "h100"}, {"SM100", "b200"},
      {"MI350X", "mi350x"}, {"MI300X", "mi300x"}, {"MI200", "mi250x"}};
  for (const auto& [spelling, name] : kDevices) {
    if (gpu.starts_with(spelling)) return std::string(name);
  }
  return "";
}

std::vector<CurveMachine> fitted_machines(const CurvesFile& file, const DeviceLookup& device_of,
                                          const CalibrationLookup& calibration_of) {
  std::vector<CurveMachine> out;
  for (const Curve& curve : file.curves) {
    const std::string name = name_of(curve);
    const std::string device = device_of_curve(curve.gpu);
    if (device.empty() || !device_of(device)) continue;
    auto same = std::find_if(out.begin(), out.end(), [&](const CurveMachine& machine) {
      return machine.name == name && machine.curves.front()->source == curve.source;
    });
    if (same == out.end())
      same = out.insert(out.end(), {.name = name, .device = device, .curves = {}, .calibration = {}, .network = {}});
    same->curves.push_back(&curve);
  }
  for (CurveMachine& machine : out) {
    calibrate(machine, calibration_of(machine.device));
    fit_network(machine, *device_of(machine.device));
  }
  borrow_networks(out, device_of);
  return out;
}

Seconds predicted(const CurveMachine& machine, const Curve& curve, const CurvePoint& point, const Device& device) {
  return time_of(model_of(machine, machine.network, curve, point, device), curve, point);
}

}  // namespace orrery::costmodel
