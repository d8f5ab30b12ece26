// SPDX-License-Identifier: Apache-2.0
// How sure predicted memory is: where the measured figure lies in four of five cases, as factors on the predicted one,
// from the errors on published runs by framework and kind of figure. Nothing is assumed of the errors' distribution
// (time_intervals.h); how often a figure lies within the interval that other model widths give is counted beside it.
// memory_intervals/1 on disk (docs/formats/memory-intervals.md); the catalog ships one.
#pragma once

#include "costmodel/calibration.h"
#include "costmodel/validation/memory_score.h"

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace orrery::costmodel {

/// Of one framework and one kind of figure.
struct MemoryInterval {
  std::string framework, figure;
  Interval interval;
  /// Of figures in the interval of the other widths: the share that lies within, and the median half-width over the
  /// median error. Nothing where there is one width alone.
  std::optional<double> coverage, width_over_error;
};

/// The formula without any framework's preset, on what every framework reserved: what a plan is judged by that says
/// nothing of its framework.
inline constexpr std::string_view kAnyFramework = "any", kReserved = "reserved";

/// By framework and figure, and for kAnyFramework last.
std::vector<MemoryInterval> memory_intervals(const std::vector<MemoryError>& errors);

struct MemoryIntervals {
  std::map<std::string, std::map<std::string, Interval>> of;  // by framework, then figure
  std::string source;                                         // what they were found on

  std::optional<Interval> find(std::string_view framework, std::string_view figure) const;
};

/// Throws: ConfigError with all problems of the file.
MemoryIntervals read_memory_intervals(const std::filesystem::path& path);
MemoryIntervals read_memory_intervals_text(const std::string& text, const std::string& file);
/// Deterministic text; factors to four digits.
std::string to_json(const std::vector<MemoryInterval>& intervals, const std::string& source);

}  // namespace orrery::costmodel
