// SPDX-License-Identifier: Apache-2.0
// --trace and --perfetto: where a verb leaves its trace.
#pragma once

#include "traces/perfetto.h"
#include "traces/trace.h"

#include <span>
#include <string>

namespace CLI {
class App;
}

namespace orrery::cli {

struct TraceOptions {
  std::string trace, perfetto;  // paths; empty: not written
  bool all_ranks = false;
};

/// Whether a trace is to be written at all.
inline bool is_wanted(const TraceOptions& options) { return !options.trace.empty() || !options.perfetto.empty(); }

void add_trace_options(CLI::App& command, TraceOptions& options);

/// Before long work: whether these files could be written now. Throws: BackendError.
void check_trace_files(const TraceOptions& options);

/// `tracks` are for the timeline. Throws: BackendError if a file cannot be written; then there is none.
void write_trace_files(const TraceOptions& options, const Trace& trace, std::span<const CounterTrack> tracks = {});

}  // namespace orrery::cli
