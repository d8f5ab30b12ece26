// SPDX-License-Identifier: Apache-2.0
// How far predicted collectives are from measured curves: those of up to 64 MiB on one or two nodes, which the
// machine's numbers were fitted to, and, with the same numbers, all larger ones and those over more nodes.
#pragma once

#include "costmodel/validation/curve_machine.h"

#include <span>
#include <string>
#include <vector>

namespace orrery::costmodel {

/// Errors of predicted over measured times.
struct CurveErrors {
  std::size_t num_points = 0;
  double median = 0.0, mean = 0.0;  // absolute
  double bias = 0.0;                // median of signed errors
};

/// Absolute and signed errors. All zero of nothing.
CurveErrors errors_of(std::span<const double> signed_errors);

/// One point and what was predicted.
struct ScoredPoint {
  const CurveMachine* machine = nullptr;
  const Curve* curve = nullptr;
  CurvePoint point;
  Seconds predicted;
  bool fitted = false;

  double error() const { return predicted / point.time - 1.0; }
};

/// Points that are reported together.
struct CurveStratum {
  std::string system, op, sizes;  // any may be empty: all
  CurveErrors fitted, scored;
};

struct CurveScore {
  std::vector<CurveMachine> machines;
  std::vector<ScoredPoint> points;      // in the order of the file
  std::vector<CurveStratum> by_system;  // machine and op
  std::vector<CurveStratum> by_size;    // op and power of ten of bytes
  std::vector<CurveStratum> by_op;      // then all on one node, on several, and all
  std::vector<UnreadFigures> unread;    // also of devices that the catalog does not have
  double median_of_curves = 0.0;        // of the absolute medians of by_system, scored
};

CurveScore score_curves(const CurvesFile& file, const DeviceLookup& device_of, const CalibrationLookup& calibration_of);

}  // namespace orrery::costmodel
