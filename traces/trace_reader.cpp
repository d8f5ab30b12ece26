// SPDX-License-Identifier: Apache-2.0
#include "base/errors.h"
#include "base/files.h"
#include "base/json_reader.h"
#include "program/step_program.h"
#include "traces/queue_names.h"
#include "traces/span_line.h"
#include "traces/trace_io.h"

#include <algorithm>
#include <charconv>
#include <functional>
#include <istream>
#include <iterator>
#include <limits>
#include <unordered_set>
#include <utility>

#include <fmt/format.h>

namespace orrery {
namespace {

constexpr std::size_t kMostProblems = 20;  // a foreign file has one on every line
constexpr std::size_t kSpanFields = 9;
constexpr NumberRange kNotNegative = {.min = 0.0};

/// What names a span: no two of a trace may agree in it.
struct SpanName {
  std::int32_t step, rank;
  OpKey key;
  bool operator==(const SpanName&) const = default;
};

struct SpanNameHash {
  std::size_t operator()(const SpanName& name) const {
    constexpr std::uint64_t kFactor = 0x9e3779b97f4a7c15;  // 2^64 / golden ratio: spreads small numbers
    std::uint64_t hash = 0;
    for (const std::int64_t part :
         {std::int64_t{name.step}, std::int64_t{name.rank}, std::int64_t{name.key.micro_batch},
          std::int64_t{name.key.stage}, std::int64_t{name.key.layer}, static_cast<std::int64_t>(name.key.pass),
          static_cast<std::int64_t>(name.key.op), std::int64_t{name.key.bucket}}) {
      hash = (hash ^ static_cast<std::uint64_t>(part)) * kFactor;
      hash ^= hash >> 32;
    }
    return hash;
  }
};

std::vector<std::string> read_names(const JsonValue& in) {
  std::vector<std::string> names;
  for (const JsonValue& name : in.array()) names.push_back(name.string());
  return names;
}

double read_computed(const JsonValue& in) {
  return in.is_null() ? std::numeric_limits<double>::quiet_NaN() : in.number();
}

bool is_role(std::string_view name) {
  for (int role = 0; role < kNumTensorRoles; ++role) {
    if (name_of(static_cast<TensorRole>(role)) == name) return true;
  }
  return false;
}

RoutingMatrix read_pairs(const JsonValue& in) {
  const std::vector<JsonValue> rows = in.array();
  if (rows.empty()) in.problem("expected a row for each rank of the EP group, got none");
  RoutingMatrix matrix{.group = static_cast<std::int64_t>(rows.size())};
  for (const JsonValue& row : rows) {
    const std::vector<JsonValue> pairs = row.array();
    const auto num_experts = static_cast<std::int64_t>(pairs.size());
    if (&row == rows.data()) matrix.num_experts = num_experts;
    if (num_experts != matrix.num_experts) {
      row.problem(fmt::format("expected {} experts as in the first row, got {}", matrix.num_experts, num_experts));
    }
    for (const JsonValue& count : pairs) matrix.pairs.push_back(count.number(kNotNegative));
  }
  return matrix;
}

/// A row for each row of pairs, with as many tokens as the EP group has ranks: of a single rank's record, of all of
/// them.
void read_tokens(const JsonValue& in, RoutingMatrix& matrix) {
  const std::vector<JsonValue> rows = in.array();
  if (std::cmp_not_equal(rows.size(), matrix.group)) {
    in.problem(fmt::format("expected {} rows as in \"pairs\", got {}", matrix.group, rows.size()));
  }
  const std::size_t width =
      matrix.group == 1 && !rows.empty() ? rows.front().array().size() : static_cast<std::size_t>(matrix.group);
  for (const JsonValue& row : rows) {
    const std::vector<JsonValue> tokens = row.array();
    if (tokens.size() != width) row.problem(fmt::format("expected {} ranks, got {}", width, tokens.size()));
    for (const JsonValue& count : tokens) matrix.tokens.push_back(count.number(kNotNegative));
  }
}

/// Reads one trace line by line.
class TraceReader {
 public:
  explicit TraceReader(const std::string& name) : name_(name) {}

  Trace read(std::string_view text, bool is_finished) {
    while (!text.empty() && !problems_full()) {
      const std::size_t end = text.find('\n');
      ++line_;
      // A line without its newline was cut off, unless it is the last record.
      if (end == std::string_view::npos && !text.starts_with("{\"end\"")) break;
      read_line(text.substr(0, end));
      text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
      if (line_ == 1) problems_.throw_if_any();  // with a wrong header everything behind it looks wrong
    }
    if (is_finished && !ended_ && !problems_full()) {
      add_problem("the trace was cut off: expected the record \"end\" as the last line");
    }
    problems_.throw_if_any();
    return std::move(trace_);
  }

 private:
  void read_line(std::string_view line) {
    if (ended_) return add_problem("expected nothing behind the record \"end\"");
    if (const std::optional<Span> span = parse_span_line(line); span && line_ > 1) {
      if (const std::string problem = problem_of(*span); !problem.empty()) add_problem(problem, "/span");
      return trace_.spans.push_back(*span);
    }
    try {
      const JsonDocument document = JsonDocument::parse_text(line, name_, line_);
      read_record(document.root());
      for (const Problem& problem : document.problems().problems()) problems_.add(problem);
    } catch (const ConfigError& no_json) {
      for (const Problem& problem : no_json.problems()) problems_.add(problem);
    }
  }

  void read_record(const JsonObject& in) {
    if (in.keys().size() != 1) return in.problem("expected one record on each line");
    const OptionalJsonValue header = in.optional("header");
    if (header.present() != (line_ == 1)) {
      in.problem(line_ == 1 ? "expected the header of a trace as its first line" : "expected no second header");
    }
    if (header.present()) read_header(header.value().object());
    if (const auto span = in.optional("span"); span.present()) read_span(span.value());
    if (const auto load = in.optional("load"); load.present()) read_load(load.value().object());
    if (const auto power = in.optional("power"); power.present()) read_power(power.value().object());
    if (const auto step = in.optional("step"); step.present()) read_step(step.value().object());
    if (const auto memory = in.optional("memory"); memory.present()) read_memory(memory.value().object());
    if (const auto end = in.optional("end"); end.present()) read_end(end.value().object());
    in.finish();
  }

  void read_header(const JsonObject& in) {
    TraceHeader& header = trace_.header;
    in.schema("trace/1");
    header.interpreter = in.required("interpreter").string();
    header.version = in.required("version").string();
    header.program_hash = in.required("program_hash").string();
    header.plan = in.required("plan").string();
    header.num_ranks = in.required("num_ranks").integer({.min = 1, .max = std::numeric_limits<std::int32_t>::max()});
    const JsonObject represents = in.required("represents").object();
    for (const std::string& key : represents.keys()) {
      const JsonValue count = represents.required(key);
      std::int32_t rank = -1;
      const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), rank);
      if (error != std::errc() || end != key.data() + key.size() || rank < 0 || rank >= header.num_ranks) {
        count.problem(fmt::format("expected a rank from 0 to {}, got \"{}\"", header.num_ranks - 1, key));
      }
      header.represents[rank] = count.integer({.min = 1, .max = header.num_ranks});
    }
    header.clock_error = seconds(in.required("clock_error").number(kNotNegative));
    header.threads_per_rank = in.required("threads_per_rank").integer({.min = 0});
    header.extrapolated = read_names(in.required("extrapolated"));
    header.notes = read_names(in.required("notes"));
    in.finish();
  }

  void read_span(const JsonValue& in) {
    const std::vector<JsonValue> fields = in.array();
    if (fields.size() != kSpanFields) {
      return in.problem(
          fmt::format("expected {} fields: step, rank, key, queue, ready, start, end, last peer, bytes; "
                      "got {}",
                      kSpanFields, fields.size()));
    }
    const std::string key = fields[2].string();
    const std::optional<OpKey> parsed = parse_op_key(key);
    if (!parsed && fields[2].kind() == JsonKind::string) {
      fields[2].problem(
          fmt::format("expected the name of an op, such as "
                      "\"step/mb0/stage0/layer1/fwd/moe.dispatch\", got \"{}\"",
                      key));
    }
    const Span span{.step = fields[0].integer<std::int32_t>({.min = 0}),
                    .rank = fields[1].integer<std::int32_t>({.min = 0}),
                    .key = parsed.value_or(OpKey()),
                    .queue = fields[3].one_of<Queue>(kQueueNames),
                    .ready = seconds(fields[4].number()),
                    .start = seconds(fields[5].number()),
                    .end = seconds(fields[6].number()),
                    .last_peer = fields[7].integer<std::int32_t>({.min = -1}),
                    .bytes = bytes(fields[8].number(kNotNegative))};
    if (!parsed) return;
    if (const std::string problem = problem_of(span); !problem.empty()) in.problem(problem);
    trace_.spans.push_back(span);
  }

  /// What is wrong with a span whose fields are well-formed; "" if nothing is.
  std::string problem_of(const Span& span) {
    const std::int64_t num_ranks = trace_.header.num_ranks;
    if (span.step < 0) return fmt::format("expected a step from 0, got {}", span.step);
    if (span.rank < 0 || span.rank >= num_ranks || !trace_.header.represents.contains(span.rank)) {
      return fmt::format("expected a rank that \"represents\" in the header lists, got {}", span.rank);
    }
    if (span.last_peer < -1 || span.last_peer >= num_ranks) {
      return fmt::format("expected a last peer from -1 to {}, got {}", num_ranks - 1, span.last_peer);
    }
    if (!(span.ready <= span.start && span.start <= span.end)) {
      return fmt::format("expected ready <= start <= end, got {}, {}, {}", span.ready.in(unit::second),
                         span.start.in(unit::second), span.end.in(unit::second));
    }
    if (span.bytes < Bytes::zero()) return fmt::format("expected bytes from 0, got {}", span.bytes.in(unit::byte));
    if (!names_.insert({span.step, span.rank, span.key}).second) {
      return fmt::format("expected one span for each op, rank and step, got a second {}", to_string(span.key));
    }
    return "";
  }

  void read_load(const JsonObject& in) {
    LoadRecord load;
    load.step = in.required("step").integer<std::int32_t>({.min = 0});
    load.layer = in.required("layer").integer({.min = 0});
    load.micro_batch = in.required("micro_batch").integer({.min = 0});
    load.ep_group = in.required("ep_group").integer({.min = 0});
    load.routing = read_pairs(in.required("pairs"));
    if (const auto tokens = in.optional("tokens"); tokens.present()) read_tokens(tokens.value(), load.routing);
    in.finish();
    trace_.loads.push_back(std::move(load));
  }

  void read_power(const JsonObject& in) {
    PowerSample sample;
    sample.rank = in.required("rank").integer<std::int32_t>({.min = 0});
    sample.time = seconds(in.required("time").number());
    sample.power = watts(in.required("power").number(kNotNegative));
    in.finish();
    trace_.power.push_back(sample);
  }

  void read_step(const JsonObject& in) {
    StepRecord step;
    step.step = in.required("step").integer<std::int32_t>({.min = 0});
    step.time = seconds(in.required("time").number(kNotNegative));
    step.tokens = in.required("tokens").number(kNotNegative);
    step.loss = read_computed(in.required("loss"));
    step.grad_norm = read_computed(in.required("grad_norm"));
    step.peak_memory = bytes(in.required("peak_memory").number(kNotNegative));
    in.finish();
    trace_.steps.push_back(step);
  }

  void read_memory(const JsonObject& in) {
    MemoryRecord memory;
    const auto size_of = [](const JsonValue& value) { return bytes(value.number(kNotNegative)); };
    const JsonValue rank = in.required("rank");
    memory.rank = rank.integer<std::int32_t>({.min = 0});
    if (!trace_.header.represents.contains(memory.rank)) {
      rank.problem(fmt::format("expected a rank that \"represents\" in the header lists, got {}", memory.rank));
    }
    const bool is_second = std::any_of(trace_.memory.begin(), trace_.memory.end(),
                                       [&](const MemoryRecord& other) { return other.rank == memory.rank; });
    if (is_second) rank.problem(fmt::format("expected one record of a rank's memory, got a second of {}", memory.rank));
    memory.step = in.required("step").integer<std::int32_t>({.min = 0});
    memory.weights = size_of(in.required("weights"));
    memory.gradients = size_of(in.required("gradients"));
    memory.optimizer = size_of(in.required("optimizer"));
    const JsonObject tensors = in.required("tensors").object();
    for (const std::string& role : tensors.keys()) {
      const JsonValue size = tensors.required(role);
      if (!is_role(role)) size.problem(fmt::format("expected the role of a tensor, got \"{}\"", role));
      memory.tensors[role] = size_of(size);
    }
    if (const JsonValue resident = in.required("resident"); !resident.is_null()) memory.resident = size_of(resident);
    in.finish();
    trace_.memory.push_back(std::move(memory));
  }

  void read_end(const JsonObject& in) {
    const auto check_count = [&](std::string_view key, std::size_t seen) {
      const JsonValue count = in.required(key);
      const std::int64_t stated = count.integer({.min = 0});
      // A line that was wrong is missing here, and reported already.
      if (problems_.empty() && stated != static_cast<std::int64_t>(seen)) {
        count.problem(fmt::format("expected {}, the number of lines above, got {}", seen, stated));
      }
    };
    check_count("spans", trace_.spans.size());
    check_count("steps", trace_.steps.size());
    in.finish();
    ended_ = true;
  }

  void add_problem(std::string message, std::string pointer = "") {
    problems_.add({.file = name_, .line = line_, .pointer = std::move(pointer), .message = std::move(message)});
  }

  bool problems_full() const { return problems_.problems().size() >= kMostProblems; }

  const std::string& name_;
  Trace trace_;
  ProblemList problems_;
  std::unordered_set<SpanName, SpanNameHash> names_;
  int line_ = 0;
  bool ended_ = false;
};

}  // namespace

Trace read_trace_text(std::string_view text, const std::string& name) {
  return TraceReader(name).read(text, /*is_finished=*/true);
}

Trace read_unfinished_trace_text(std::string_view text, const std::string& name) {
  return TraceReader(name).read(text, /*is_finished=*/false);
}

Trace read_trace(std::istream& in, const std::string& name) {
  return read_trace_text(std::string(std::istreambuf_iterator<char>(in), {}), name);
}

Trace read_trace_file(const std::string& path) { return read_trace_text(read_file(path), path); }

}  // namespace orrery
