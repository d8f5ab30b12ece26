// SPDX-License-Identifier: Apache-2.0
// calibration/1: what was measured on a device, as it stands in the file. It holds times and nothing that was made of
// them, except the fits that this folder writes. Who turns points into times of other shapes is operator_curves.h and
// collective_model.h. Format: docs/formats/calibration.md.
#pragma once

#include "base/units.h"
#include "costmodel/kernel_factors.h"
#include "costmodel/kernel_model.h"
#include "program/cluster.h"
#include "program/op.h"
#include "traces/measurements.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace orrery::costmodel {

/// A value that somebody else stated, and where.
template <class Q>
struct Sourced {
  Q value;
  std::string source;
};

/// One measured op. Memory-bound ops have one byte per row, so that rows.count is their traffic; the rows of a grouped
/// GEMM are those of all experts together.
struct OpPoint {
  std::string op;  // "gemm" | "grouped_gemm" | "attention" | "memory" | dotted name of a memory-bound op
  Pass pass = Pass::fwd;
  DType dtype = DType::bf16;
  OpShape shape;
  Seconds time;
  std::optional<Seconds> spread;
  std::optional<std::int64_t> repeats;
  std::string source;
};

/// What was fitted to the points of one collective on one path; see collective_fit.h.
struct CollectiveFit {
  std::string op, path;
  /// Start-up time of a call among n ranks: latency + latency_per_peer (n - 1). Absent: no small messages were
  /// measured.
  std::optional<Seconds> latency, latency_per_peer;
  /// Bytes on the wire of one rank per second, start-up time taken off. Absent: no large messages were measured.
  std::optional<BytesPerSecond> rate;
  std::int64_t min_ranks = 0, max_ranks = 0;  // that were measured
  double residual = 0.0;                      // median of |fitted / measured - 1|
};

/// Where a measured step lies in four of five cases, as a factor on the predicted one.
struct Interval {
  double low = 1.0, high = 1.0;
  std::int64_t num_runs = 0;              // whose errors say so
  std::vector<std::string> devices = {};  // on which they ran, in alphabetical order; empty: nobody wrote that down
};

/// How far predictions of the kernels of one kind were from a calibration's own points, predicted over measured less 1.
struct KernelResidual {
  struct Errors {
    double median = 0.0;  // of absolute errors
    double worst = 0.0;   // signed
  };
  std::string op;
  Pass pass = Pass::fwd;
  DType dtype = DType::bf16;
  std::int64_t num_points = 0;
  Errors form;      // of `kernels` alone
  Errors left_out;  // each point by the form and all others
};

/// Steps of a training run that the points have not seen, beside what the calibration predicts for them.
struct StepResidual {
  std::string run;  // its model and strategy, for people
  Seconds predicted;
  std::vector<Seconds> measured;
};

struct Calibration {
  struct Conditions {
    std::optional<Watts> power_limit;
    std::optional<Hertz> clock;
    std::optional<std::string> input;
    std::int64_t active_ranks = 1;
    std::optional<std::int64_t> threads_per_rank;
    /// Rate of one rank's port on a path ("node", "rail", "spine") while the collectives were measured.
    std::map<std::string, BytesPerSecond> links;
  };

  /// Name of a file of the catalog, or the device itself.
  std::variant<std::string, Device> device;
  std::string device_name;  // in the catalog; empty: the file states the device itself
  std::optional<std::string> driver;
  std::string software;
  Conditions conditions;
  std::vector<OpPoint> points;
  std::vector<CollectiveMeasurement> collectives;
  std::optional<Sourced<Seconds>> launch_gap, launch_dispatch;
  std::optional<Sourced<Watts>> idle_power, waiting_power, products_power, streaming_power, communication_power,
      power_limit;
  std::vector<CollectiveFit> fits;           // empty: none were made yet
  std::optional<KernelParameters> kernels;   // for shapes without a point, without factors
  std::vector<KernelResidual> residuals;     // of `kernels`, by the points; empty: nobody wrote them down
  std::optional<Knobs> factors;              // of training, on kernels and points; absent: one
  std::vector<StepResidual> step_residuals;  // that `interval` was made of, where it was measured here
  std::optional<Interval> interval;          // of step times
  std::optional<Interval> interval_moe;      // of those of MoE models, where enough runs tell them apart
};

/// Throws: ConfigError with all problems of the file; also when its fits were made for other points.
Calibration read_calibration(const std::filesystem::path& path);
Calibration read_calibration_text(const std::string& text, const std::string& file);

/// `kernels` with the factors of training.
std::optional<KernelParameters> kernels_in_training(const Calibration& calibration);

/// Deterministic text that reads back as the same calibration.
std::string to_json(const Calibration& calibration);

/// What an executor measured, with fits of its collectives.
Calibration calibration_of(const Measurements& measurements);

/// Hash of the collectives, which the fits in a file carry.
std::string collectives_hash(const Calibration& calibration);

}  // namespace orrery::costmodel
