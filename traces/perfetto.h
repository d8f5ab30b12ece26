// SPDX-License-Identifier: Apache-2.0
// A trace as Chrome's trace event JSON, which ui.perfetto.dev and chrome://tracing draw: one process for each rank,
// one thread for each queue, power as a counter. What belongs to no rank are counters of a process of their own. Steps
// stand one behind the other. Export only; times there are microseconds. Source: "Trace Event Format" of the Chromium
// project.
#pragma once

#include "traces/trace.h"

#include <span>
#include <string>
#include <vector>

namespace orrery {

/// A quantity over time that belongs to no rank, such as how full links are: one value for each interval from the
/// start.
struct CounterTrack {
  std::string name;
  Seconds interval;
  std::vector<double> values;
};

/// Throws: BackendError if the file cannot be written; then there is none.
void write_perfetto_file(const std::string& path, const Trace& trace, std::span<const CounterTrack> tracks = {});

}  // namespace orrery
