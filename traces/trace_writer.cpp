// SPDX-License-Identifier: Apache-2.0
#include "base/check.h"
#include "base/errors.h"
#include "base/files.h"
#include "base/json_writer.h"
#include "traces/span_line.h"
#include "traces/trace_io.h"

#include <cmath>
#include <ostream>
#include <span>

namespace orrery {
namespace {

constexpr std::size_t kBufferSize = 1 << 18;

JsonWriter record(std::string_view name) {
  JsonWriter out(JsonWriter::Layout::line);
  out.begin_object().key(name);
  return out;
}

/// A matrix of `num_rows` rows, row-major.
void add_rows(JsonWriter& out, std::string_view name, std::span<const double> values, std::int64_t num_rows) {
  const std::size_t width = values.size() / static_cast<std::size_t>(num_rows);
  out.key(name).begin_array();
  for (std::size_t first = 0; first < values.size(); first += width) {
    out.begin_array();
    for (const double value : values.subspan(first, width)) out.value(value);
    out.end_array();
  }
  out.end_array();
}

void add_names(JsonWriter& out, std::string_view name, const std::vector<std::string>& texts) {
  out.key(name).begin_array();
  for (const std::string& text : texts) out.value(text);
  out.end_array();
}

/// NaN, where nothing was computed, is null.
void add_computed(JsonWriter& out, std::string_view name, double x) {
  out.key(name);
  if (std::isnan(x)) {
    out.null();
  } else {
    out.value(x);
  }
}

}  // namespace

TraceWriter::TraceWriter(std::ostream& out, const TraceHeader& header) : stream_(&out) { write_header(header); }

TraceWriter::TraceWriter(const std::string& path, const TraceHeader& header)
    : file_(std::make_unique<AtomicFile>(path)) {
  write_header(header);
}

TraceWriter::~TraceWriter() = default;

void TraceWriter::write_header(const TraceHeader& header) {
  JsonWriter out = record("header");
  out.begin_object()
      .field("schema", "trace/1")
      .field("interpreter", header.interpreter)
      .field("version", header.version)
      .field("program_hash", header.program_hash)
      .field("plan", header.plan)
      .field("num_ranks", header.num_ranks);
  out.key("represents").begin_object();
  for (const auto& [rank, count] : header.represents) out.field(std::to_string(rank), count);
  out.end_object();
  out.field("clock_error", header.clock_error.in(unit::second)).field("threads_per_rank", header.threads_per_rank);
  add_names(out, "extrapolated", header.extrapolated);
  add_names(out, "notes", header.notes);
  take_line(out.end_object().end_object().text());
}

void TraceWriter::write(const Span& span) {
  CHECK(span.ready <= span.start && span.start <= span.end, to_string(span.key), span.rank, span.ready, span.start,
        span.end);
  append_span_line(buffer_, span);
  ++num_spans_;
  if (buffer_.size() >= kBufferSize) flush();
}

void TraceWriter::write(const LoadRecord& load) {
  JsonWriter out = record("load");
  out.begin_object()
      .field("step", load.step)
      .field("layer", load.layer)
      .field("micro_batch", load.micro_batch)
      .field("ep_group", load.ep_group);
  add_rows(out, "pairs", load.routing.pairs, load.routing.group);
  if (!load.routing.tokens.empty()) add_rows(out, "tokens", load.routing.tokens, load.routing.group);
  take_line(out.end_object().end_object().text());
}

void TraceWriter::write(const PowerSample& sample) {
  JsonWriter out = record("power");
  out.begin_object()
      .field("rank", sample.rank)
      .field("time", sample.time.in(unit::second))
      .field("power", sample.power.in(unit::watt));
  take_line(out.end_object().end_object().text());
}

void TraceWriter::write(const StepRecord& step) {
  JsonWriter out = record("step");
  out.begin_object().field("step", step.step).field("time", step.time.in(unit::second)).field("tokens", step.tokens);
  add_computed(out, "loss", step.loss);
  add_computed(out, "grad_norm", step.grad_norm);
  out.field("peak_memory", step.peak_memory.in(unit::byte));
  take_line(out.end_object().end_object().text());
  ++num_steps_;
}

void TraceWriter::write(const MemoryRecord& memory) {
  JsonWriter out = record("memory");
  out.begin_object().field("rank", memory.rank).field("step", memory.step);
  out.field("weights", memory.weights.in(unit::byte)).field("gradients", memory.gradients.in(unit::byte));
  out.field("optimizer", memory.optimizer.in(unit::byte)).key("tensors").begin_object();
  for (const auto& [role, size] : memory.tensors) out.field(role, size.in(unit::byte));
  out.end_object().key("resident");
  memory.resident ? out.value(memory.resident->in(unit::byte)) : out.null();
  take_line(out.end_object().end_object().text());
}

void TraceWriter::finish() {
  JsonWriter out = record("end");
  out.begin_object().field("spans", num_spans_).field("steps", num_steps_);
  take_line(out.end_object().end_object().text());
  flush();
  if (file_) {
    file_->commit();
  } else {
    stream_->flush();
    if (!*stream_) throw BackendError("cannot write the trace: the stream takes nothing more");
  }
}

void TraceWriter::take_line(std::string_view line) {
  buffer_ += line;
  buffer_ += '\n';
  if (buffer_.size() >= kBufferSize) flush();
}

void TraceWriter::flush() {
  if (file_) {
    file_->append(buffer_);
  } else if (!stream_->write(buffer_.data(), static_cast<std::streamsize>(buffer_.size()))) {
    throw BackendError("cannot write the trace: the stream takes nothing more");
  }
  buffer_.clear();
}

namespace {

void write_all(TraceWriter& writer, const Trace& trace) {
  for (std::size_t i = 0; i < trace.spans.size(); ++i) writer.write(trace.spans.at(i));
  for (const LoadRecord& load : trace.loads) writer.write(load);
  for (const PowerSample& sample : trace.power) writer.write(sample);
  for (const StepRecord& step : trace.steps) writer.write(step);
  for (const MemoryRecord& memory : trace.memory) writer.write(memory);
  writer.finish();
}

}  // namespace

void write_trace(std::ostream& out, const Trace& trace) {
  TraceWriter writer(out, trace.header);
  write_all(writer, trace);
}

void write_trace_file(const std::string& path, const Trace& trace) {
  TraceWriter writer(path, trace.header);
  write_all(writer, trace);
}

}  // namespace orrery
