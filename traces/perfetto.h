// SPDX-License-Identifier: Apache-2.0
// A trace as Chrome's trace event JSON, which ui.perfetto.dev and chrome://tracing draw: one process for each rank,
// one thread for each queue, power as a counter. Steps stand one behind the other. Export only; times there are
// microseconds. Source: "Trace Event Format" of the Chromium project.
#pragma once

#include "traces/trace.h"

#include <string>

namespace orrery {

/// Throws: BackendError if the file cannot be written; then there is none.
void write_perfetto_file(const std::string& path, const Trace& trace);

}  // namespace orrery
