// SPDX-License-Identifier: Apache-2.0
#include "cli/trace_files.h"

#include "base/errors.h"
#include "base/files.h"
#include "traces/trace_io.h"

#include <filesystem>
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace orrery::cli {

void add_trace_options(CLI::App& command, TraceOptions& options) {
  command.add_option("--trace", options.trace, "write every op to this file (trace/1)");
  command.add_option("--perfetto", options.perfetto, "write a timeline for ui.perfetto.dev to this file");
  command.add_flag("--all-ranks", options.all_ranks, "spans of every rank instead of one for each set of equal ranks");
}

void check_trace_files(const TraceOptions& options) {
  for (const std::string& path : {options.trace, options.perfetto}) {
    if (path.empty()) continue;
    if (std::filesystem::is_directory(path)) throw BackendError(fmt::format("cannot write {}: Is a directory", path));
    const AtomicFile beside(path);  // is made and removed again
  }
}

void write_trace_files(const TraceOptions& options, const Trace& trace, std::span<const CounterTrack> tracks) {
  if (!options.trace.empty()) write_trace_file(options.trace, trace);
  if (!options.perfetto.empty()) write_perfetto_file(options.perfetto, trace, tracks);
}

}  // namespace orrery::cli
