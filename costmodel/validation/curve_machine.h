// SPDX-License-Identifier: Apache-2.0
// The machine that collectives were measured on, and what its small messages tell of it: messages of up to 64 MiB over
// one or two nodes enter its calibration, nothing else does, and the same calibration then answers for larger messages
// and more nodes. Parameters are what has a cause in the machine: the times of a domain by size, and between nodes two
// numbers: what a hop takes, from collectives, and what of a NIC's rate is reached, from exchanges of tokens.
#pragma once

#include "costmodel/calibration.h"
#include "costmodel/validation/collective_curves.h"
#include "costmodel/validation/run_plan.h"
#include "program/cluster.h"

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace orrery::costmodel {

/// The catalog's table of a device; nothing if it has none.
using CalibrationLookup = std::function<std::optional<Calibration>(const std::string& device)>;

/// Whether a point may be fitted to. Exchanges of tokens have one size each: there the nodes alone decide.
bool is_for_fit(const Curve& curve, const CurvePoint& point);

/// What lies between the nodes of a machine.
struct NetworkNumbers {
  Seconds hop = microseconds(5);  // as published runs have it (run_cluster.cpp)
  /// Of a NIC's rate. NCCL counts on 12, 24, 48 and 96 GB/s of 100 to 800 Gb/s (src/graph/search.cc).
  double fraction = 0.96;
  std::size_t num_points = 0;  // that were fitted to; 0: stated or of a like network
  double residual = 0.0;       // median of |predicted / measured - 1| there
  std::string like;            // the machine whose network this is taken to be like; empty: none
};

struct CurveMachine {
  std::string name;    // its GPU, network and library, as the file spells them
  std::string device;  // of the catalog
  std::vector<const Curve*> curves;
  Calibration calibration;
  NetworkNumbers network;

  Cluster cluster_of(const Curve& curve, const CurvePoint& point, const Device& of_catalog) const;
};

/// Name in the catalog of a GPU as these files spell it; empty: there is none.
std::string device_of_curve(const std::string& gpu);

/// Machines with a device of the catalog, in the order of the file, fitted; `file` must outlive them. A machine that
/// was not measured over two nodes has the network of the one of its kind (EFA, RoCE, ...) with the nearest rate for
/// each device, where there is one.
std::vector<CurveMachine> fitted_machines(const CurvesFile& file, const DeviceLookup& device_of,
                                          const CalibrationLookup& calibration_of);

/// What the machine's calibration and network say of one point.
Seconds predicted(const CurveMachine& machine, const Curve& curve, const CurvePoint& point, const Device& device);

}  // namespace orrery::costmodel
