// SPDX-License-Identifier: Apache-2.0
// What training steps do to the numbers of a calibration: factors found by time_fit.h on published runs, by chip
// family, device and training framework, and how far predictions made with them were off. time_factors/1 on disk
// (docs/formats/time-factors.md); the catalog ships one.
#pragma once

#include "costmodel/calibration.h"
#include "program/cluster.h"

#include <array>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>

namespace orrery::costmodel {

/// "hopper" for h100, h200, h800; the device's own name where no family is known.
std::string family_of(std::string_view device);

/// The names under which the factors of a device and a framework stand.
std::array<std::string, 3> owners_of(std::string_view device, std::string_view framework);

/// The name under which an interval stands: "megatron-bridge", "megatron-bridge MoE".
std::string interval_name(std::string_view framework, bool is_moe);

struct TimeFactors {
  std::map<std::string, Knobs> of;        // "family hopper", "device h800", "framework nanotron"; absent: one
  std::map<std::string, double> release;  // of a software: logarithm of the factor on a whole step
  /// By framework, and where MoE runs are told apart, theirs by interval_name(framework, true).
  std::map<std::string, Interval> interval;
  std::string source;  // what they were fitted to

  /// Sum over the owners.
  Knobs knobs(std::string_view device, std::string_view framework) const;
  double release_of(const std::string& software) const;
};

/// The calibration of a device for training with a framework: `base` with its factors, kernels and interval.
Calibration with_factors(const Calibration& base, const TimeFactors& factors, std::string_view device,
                         std::string_view framework);

/// Throws: ConfigError with all problems of the file.
TimeFactors read_time_factors(const std::filesystem::path& path);
TimeFactors read_time_factors_text(const std::string& text, const std::string& file);
/// Deterministic text; factors to four digits.
std::string to_json(const TimeFactors& factors);

}  // namespace orrery::costmodel
