// SPDX-License-Identifier: Apache-2.0
// The one line of trace/1 that exists millions of times, written and read without a JSON library: a step of a large
// cluster has hundreds of thousands. What is read here is a subset of what the strict reader takes; a line that does
// not look exactly like a written one is left to that reader, which accepts it or says what is wrong with it.
#pragma once

#include "traces/trace.h"

#include <optional>
#include <string>
#include <string_view>

namespace orrery {

/// Appends `{"span":[...]}` and a newline. Requires: finite times and bytes.
void append_span_line(std::string& out, const Span& span);

/// The span of a line (without its newline) in the form that append_span_line writes; nothing for any other form.
std::optional<Span> parse_span_line(std::string_view line);

}  // namespace orrery
