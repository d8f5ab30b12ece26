// SPDX-License-Identifier: Apache-2.0
// What a simulation worker answers on its standard output: a line with two counts, the trace/1 without its spans, and
// the spans as the bytes of their columns, since text for millions of them takes longer than the simulation. Between
// two processes of one binary; not a format for files.
#pragma once

#include "traces/trace.h"

#include <ostream>
#include <string_view>

namespace orrery::sim {

void write_answer(std::ostream& out, Trace trace);

/// Throws: ConfigError if the text is not a whole answer.
Trace read_answer(std::string_view text);

}  // namespace orrery::sim
