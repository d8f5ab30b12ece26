// SPDX-License-Identifier: Apache-2.0
// --trace and --perfetto: where a verb leaves its trace.
#pragma once

#include "traces/trace.h"

#include <string>

namespace CLI {
class App;
}

namespace orrery::cli {

struct TraceOptions {
  std::string trace, perfetto;  // paths; empty: not written
  bool all_ranks = false;
};

void add_trace_options(CLI::App& command, TraceOptions& options);

/// Throws: BackendError if a file cannot be written; then there is none.
void write_trace_files(const TraceOptions& options, const Trace& trace);

}  // namespace orrery::cli
