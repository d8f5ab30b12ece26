// SPDX-License-Identifier: Apache-2.0
// What training steps do to the numbers of a calibration: factors found by time_fit.h on published runs, by chip
// family, device and training framework, and how far predictions made with them were off. time_factors/1 on disk
// (docs/formats/time-factors.md); the catalog ships one.
#pragma once

#include "costmodel/calibration.h"
#include "program/cluster.h"

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace orrery::costmodel {

/// "hopper" for h100, h200, h800; the device's own name where no family is known.
std::string family_of(std::string_view device);

/// The names under which the factors of a device and a framework stand.
std::array<std::string, 3> owners_of(std::string_view device, std::string_view framework);

/// The name under which an interval stands: "megatron-bridge", "megatron-bridge MoE".
std::string interval_name(std::string_view framework, bool is_moe);

/// The name under which residuals of a device's runs stand: "h100 megatron-bridge".
std::string residuals_name(std::string_view device, std::string_view framework);

/// How far predicted steps were off on one stratum of published runs: of one source, on one kind of GPU.
struct TrainingResidual {
  struct Errors {
    double mean = 0.0, median = 0.0;  // of absolute errors
    double bias = 0.0;                // mean of signed errors
  };
  std::string group, gpu;
  bool is_moe = false;
  std::int64_t num_runs = 0;
  Errors fitted;    // with factors that saw the runs
  Errors held_out;  // with factors that saw no run of the same model and GPU
};

struct TimeFactors {
  std::map<std::string, Knobs> of;        // "family hopper", "device h800", "framework nanotron"; absent: one
  std::map<std::string, double> release;  // of a software: logarithm of the factor on a whole step
  /// By framework, and where MoE runs are told apart, theirs by interval_name(framework, true).
  std::map<std::string, Interval> interval;
  std::map<std::string, std::vector<TrainingResidual>> residuals;  // by residuals_name(device, framework)
  std::string source;                                              // what they were fitted to

  /// Sum over the owners.
  Knobs knobs(std::string_view device, std::string_view framework) const;
  double release_of(const std::string& software) const;
};

/// The calibration of a device for training with a framework: `base` with its factors, kernels and interval, and
/// with fits of its collectives.
Calibration with_factors(const Calibration& base, const TimeFactors& factors, std::string_view device,
                         std::string_view framework);

/// Throws: ConfigError with all problems of the file.
TimeFactors read_time_factors(const std::filesystem::path& path);
TimeFactors read_time_factors_text(const std::string& text, const std::string& file);
/// Deterministic text; factors to four digits.
std::string to_json(const TimeFactors& factors);

}  // namespace orrery::costmodel
