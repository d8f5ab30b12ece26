// SPDX-License-Identifier: Apache-2.0
// Traces on disk: trace/1, JSON Lines (docs/formats/trace.md). TraceWriter takes records as they happen, so a long run
// needs no memory; the last line counts them, so that a file that was cut off cannot pass for a whole one. Readers are
// strict and report every problem with its line.
#pragma once

#include "traces/trace.h"

#include <cstdint>
#include <iosfwd>
#include <memory>
#include <string>
#include <string_view>

namespace orrery {

class AtomicFile;

/// Writes one trace, record by record. Without finish() no file appears, and a stream lacks its last line.
class TraceWriter {
 public:
  /// Requires: `out` outlives the writer. Throws, here and below: BackendError if the stream takes nothing more.
  TraceWriter(std::ostream& out, const TraceHeader& header);
  /// Throws, here and below: BackendError if the file cannot be written.
  TraceWriter(const std::string& path, const TraceHeader& header);
  ~TraceWriter();
  TraceWriter(const TraceWriter&) = delete;
  TraceWriter& operator=(const TraceWriter&) = delete;

  /// Requires of a span: ready <= start <= end.
  void write(const Span& span);
  void write(const LoadRecord& load);
  void write(const PowerSample& sample);
  void write(const StepRecord& step);
  void write(const MemoryRecord& memory);

  /// Hands on what was written so far: a reader at the other end of a stream sees it now.
  void flush();

  /// Writes the last line; a file gets its name. Call once, last.
  void finish();

 private:
  void write_header(const TraceHeader& header);
  void take_line(std::string_view line);

  std::ostream* stream_ = nullptr;
  std::unique_ptr<AtomicFile> file_;  // either a stream or a file
  std::string buffer_;
  std::int64_t num_spans_ = 0, num_steps_ = 0;
};

void write_trace(std::ostream& out, const Trace& trace);
void write_trace_file(const std::string& path, const Trace& trace);

/// Throws: ConfigError with every problem; `name` stands for the file.
Trace read_trace(std::istream& in, const std::string& name);
Trace read_trace_text(std::string_view text, const std::string& name);
Trace read_trace_file(const std::string& path);

/// The records of a trace whose writer was stopped: without the last line, and but for a line that was cut off.
Trace read_unfinished_trace_text(std::string_view text, const std::string& name);

}  // namespace orrery
