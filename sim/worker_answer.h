// SPDX-License-Identifier: Apache-2.0
// What a simulation worker answers on its standard output: a line with two counts, the trace/1 without its spans, and
// the spans as the bytes of their columns, since text for millions of them takes longer than the simulation; in blocks
// of rows, so that neither side needs a copy of all beside what it makes them of. Between two processes of one binary;
// not a format for files.
#pragma once

#include "traces/trace.h"

#include <cstddef>
#include <istream>
#include <ostream>

namespace orrery::sim {

class AnswerWriter {
 public:
  /// Writes all but spans. `out` has to outlive it. Requires: `trace` has no spans; `num_spans` will follow.
  AnswerWriter(std::ostream& out, const Trace& trace, std::size_t num_spans);
  /// The next spans.
  void write(const Spans& spans);

 private:
  std::ostream& out_;
};

/// Throws: ConfigError if it is not a whole answer.
Trace read_answer(std::istream& in);

}  // namespace orrery::sim
