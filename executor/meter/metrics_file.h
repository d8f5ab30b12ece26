// SPDX-License-Identifier: Apache-2.0
// What a run has done so far, as a text file for the textfile collector of Prometheus' node exporter. Counters are
// totals of the run, and go on where a run is resumed: the file itself keeps them.
// Source of the format: Prometheus, "Exposition formats", text format 0.0.4.
#pragma once

#include "base/units.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace orrery::executor {

/// Sums over all steps and ranks.
struct RunTotals {
  std::int64_t tokens = 0;
  std::int64_t restarts = 0;     // after ranks were lost or failed
  std::optional<Joules> energy;  // of the machine's CPUs; nothing without a counter
  /// Payload that ranks sent to each other, by dimension and op: {"ep", "moe.dispatch"}.
  std::map<std::pair<std::string, std::string>, std::int64_t> sent_bytes;

  bool operator==(const RunTotals&) const = default;
};

struct RunMetrics {
  std::string model;
  std::int64_t num_ranks = 0;
  std::optional<Seconds> step_time;  // of the last step; nothing before the first
  RunTotals totals;
};

/// The text of a label between its quotes: backslash, quote and the end of a line escaped.
std::string escaped_label(std::string_view text);

std::string metrics_text(const RunMetrics& metrics);

/// The totals in a text that metrics_text() wrote. `file`: its name, for messages. Throws: ConfigError with all lines
/// that it did not write.
RunTotals read_totals(std::string_view text, const std::string& file);

}  // namespace orrery::executor
