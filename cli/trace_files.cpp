// SPDX-License-Identifier: Apache-2.0
#include "cli/trace_files.h"

#include "cli/output_file.h"
#include "traces/trace_io.h"

#include <CLI/CLI.hpp>

namespace orrery::cli {

void add_trace_options(CLI::App& command, TraceOptions& options) {
  command.add_option("--trace", options.trace, "write every op to this file (trace/1)");
  command.add_option("--perfetto", options.perfetto, "write a timeline for ui.perfetto.dev to this file");
  command.add_flag("--all-ranks", options.all_ranks, "spans of every rank instead of one for each set of equal ranks");
}

void check_trace_files(const TraceOptions& options) {
  require_place_for(options.trace);
  require_place_for(options.perfetto);
}

void write_trace_files(const TraceOptions& options, const Trace& trace, std::span<const CounterTrack> tracks) {
  if (!options.trace.empty()) write_trace_file(options.trace, trace);
  if (!options.perfetto.empty()) write_perfetto_file(options.perfetto, trace, tracks);
}

}  // namespace orrery::cli
