// SPDX-License-Identifier: Apache-2.0
// What a simulation worker answers on its standard output: a line of counts, the trace/1 without its spans, how full
// links were, and the spans as the bytes of their columns, since text for millions of them takes longer than the
// simulation; in blocks of rows, so that neither side ever needs all of them. Between two processes of one binary; not
// a format for files.
#pragma once

#include "sim/link_use.h"
#include "traces/trace.h"

#include <cstddef>
#include <cstdint>
#include <istream>
#include <optional>
#include <ostream>
#include <utility>

namespace orrery::sim {

/// All of an answer but its spans.
struct Answer {
  std::int64_t fingerprint = 0;   // of the program that the plan lowers to
  Trace trace;                    // without spans
  std::optional<UseOfLinks> use;  // if it was asked for
};

class AnswerWriter {
 public:
  /// Writes all but spans. `out` has to outlive it. Requires: the trace has no spans; `num_spans` will follow.
  AnswerWriter(std::ostream& out, const Answer& answer, std::size_t num_spans);
  /// The next spans.
  void write(const Spans& spans);

 private:
  std::ostream& out_;
};

/// Reads an answer as it comes.
class AnswerReader {
 public:
  /// Reads all but spans. `in` has to outlive it. Throws: ConfigError if they are not there.
  explicit AnswerReader(std::istream& in);
  const Answer& answer() const { return answer_; }
  Answer take() { return std::move(answer_); }
  std::size_t num_left() const { return num_left_; }
  /// The next block of spans; none behind the last one.
  /// Throws: ConfigError if it is not whole, or something follows the last one.
  Spans next();

 private:
  std::istream& in_;
  Answer answer_;
  std::size_t num_left_ = 0;
};

}  // namespace orrery::sim
