// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/curve_score.h"

#include "base/median.h"

#include <cmath>
#include <functional>
#include <map>

#include <fmt/format.h>

namespace orrery::costmodel {
namespace {

struct Errors {
  std::vector<double> fitted, scored;
};

/// In the order in which the keys first occur.
std::vector<CurveStratum> strata(const std::vector<ScoredPoint>& points,
                                 const std::function<CurveStratum(const ScoredPoint&)>& key) {
  std::vector<CurveStratum> out;
  std::vector<Errors> errors;
  for (const ScoredPoint& point : points) {
    CurveStratum of_point = key(point);
    std::size_t at = 0;
    while (at < out.size() &&
           (out[at].system != of_point.system || out[at].op != of_point.op || out[at].sizes != of_point.sizes)) {
      ++at;
    }
    if (at == out.size()) {
      out.push_back(std::move(of_point));
      errors.emplace_back();
    }
    (point.fitted ? errors[at].fitted : errors[at].scored).push_back(point.error());
  }
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i].fitted = errors_of(errors[i].fitted);
    out[i].scored = errors_of(errors[i].scored);
  }
  return out;
}

std::string decade_of(Bytes size) {
  constexpr const char* kNames[] = {"1 B",  "10 B",  "100 B",  "1 kB", "10 kB", "100 kB",
                                    "1 MB", "10 MB", "100 MB", "1 GB", "10 GB"};
  const auto power = static_cast<std::size_t>(std::max(0.0, std::floor(std::log10(size.in(unit::byte)))));
  return fmt::format("from {}", kNames[std::min(power, std::size(kNames) - 1)]);
}

}  // namespace

CurveErrors errors_of(std::span<const double> signed_errors) {
  CurveErrors out{.num_points = signed_errors.size()};
  if (signed_errors.empty()) return out;
  std::vector<double> all(signed_errors.begin(), signed_errors.end());
  out.bias = median(all);
  for (double& error : all) {
    error = std::abs(error);
    out.mean += error / static_cast<double>(all.size());
  }
  out.median = median(all);
  return out;
}

CurveScore score_curves(const CurvesFile& file, const DeviceLookup& device_of,
                        const CalibrationLookup& calibration_of) {
  CurveScore out;
  out.unread = file.unread;
  out.machines = fitted_machines(file, device_of, calibration_of);
  std::map<const Curve*, const CurveMachine*> machine_of;
  for (const CurveMachine& machine : out.machines) {
    for (const Curve* curve : machine.curves) machine_of[curve] = &machine;
  }
  for (const Curve& curve : file.curves) {
    const auto machine = machine_of.find(&curve);
    if (machine == machine_of.end()) {
      out.unread.push_back({curve.entry, curve.op, "the catalog has no " + curve.gpu, curve.points.size()});
      continue;
    }
    const Device device = *device_of(machine->second->device);
    for (const CurvePoint& point : curve.points) {
      out.points.push_back({.machine = machine->second,
                            .curve = &curve,
                            .point = point,
                            .predicted = predicted(*machine->second, curve, point, device),
                            .fitted = is_for_fit(curve, point)});
    }
  }
  out.by_system = strata(out.points, [](const ScoredPoint& p) {
    const std::string nodes = fmt::format("{}: {} on {}", p.machine->name, p.point.ranks, p.point.nodes);
    return CurveStratum{.system = nodes, .op = p.curve->op, .sizes = "", .fitted = {}, .scored = {}};
  });
  out.by_size = strata(out.points, [](const ScoredPoint& p) {
    return CurveStratum{.system = "", .op = p.curve->op, .sizes = decade_of(p.point.size), .fitted = {}, .scored = {}};
  });
  out.by_op = strata(out.points, [](const ScoredPoint& p) {
    return CurveStratum{.system = "", .op = p.curve->op, .sizes = "", .fitted = {}, .scored = {}};
  });
  const auto nodes = strata(out.points, [](const ScoredPoint& p) {
    const char* where = p.point.nodes > 1 ? "all on several nodes" : "all on one node";
    return CurveStratum{.system = "", .op = where, .sizes = "", .fitted = {}, .scored = {}};
  });
  const auto all = strata(out.points, [](const ScoredPoint&) {
    return CurveStratum{.system = "", .op = "all", .sizes = "", .fitted = {}, .scored = {}};
  });
  out.by_op.insert(out.by_op.end(), nodes.begin(), nodes.end());
  out.by_op.insert(out.by_op.end(), all.begin(), all.end());
  std::vector<double> medians;
  for (const CurveStratum& system : out.by_system) {
    if (system.scored.num_points > 0) medians.push_back(system.scored.median);
  }
  if (!medians.empty()) out.median_of_curves = median(medians);
  return out;
}

}  // namespace orrery::costmodel
