// SPDX-License-Identifier: Apache-2.0
#include "sim/worker_answer.h"

#include "base/errors.h"
#include "traces/trace_io.h"

#include <charconv>
#include <cstddef>
#include <cstring>
#include <sstream>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace orrery::sim {
namespace {

/// Calls `use` for each column, in the order in which they are sent.
template <class Use>
void for_each_column(const Spans& spans, Use use) {
  use(spans.step());
  use(spans.rank());
  use(spans.key());
  use(spans.queue());
  use(spans.ready());
  use(spans.start());
  use(spans.end());
  use(spans.last_peer());
  use(spans.bytes());
}

/// The columns one after the other, read row by row.
class Columns {
 public:
  Columns(std::string_view bytes, std::size_t num_rows) : bytes_(bytes), num_rows_(num_rows) {}

  /// Where the next column begins.
  template <class T>
  std::size_t next() {
    const std::size_t begin = end_;
    end_ += num_rows_ * sizeof(T);
    return begin;
  }
  std::size_t size() const { return end_; }

  template <class T>
  T at(std::size_t column, std::size_t row) const {
    T value;
    std::memcpy(&value, bytes_.data() + column + row * sizeof(T), sizeof(T));
    return value;
  }

 private:
  std::string_view bytes_;
  std::size_t num_rows_, end_ = 0;
};

/// The number at the front of `text`, which loses it and what stands behind it.
std::size_t take_number(std::string_view& text, char behind) {
  std::size_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const auto length = static_cast<std::size_t>(end - text.data());
  if (error != std::errc() || length >= text.size() || *end != behind) throw ConfigError("answer: expected two counts");
  text.remove_prefix(length + 1);
  return value;
}

void require_whole(std::size_t size, std::size_t expected) {
  if (size != expected) throw ConfigError(fmt::format("answer: expected {} bytes of spans, got {}", expected, size));
}

}  // namespace

void write_answer(std::ostream& out, Trace trace) {
  const Spans spans = std::exchange(trace.spans, {});
  std::ostringstream rest;
  write_trace(rest, trace);
  const std::string text = rest.str();
  out << fmt::format("{} {}\n", spans.size(), text.size()) << text;
  for_each_column(spans, [&](const auto& column) {
    using T = typename std::decay_t<decltype(column)>::value_type;
    static_assert(std::has_unique_object_representations_v<T> || std::is_floating_point_v<T>);
    out.write(reinterpret_cast<const char*>(column.data()), static_cast<std::streamsize>(column.size() * sizeof(T)));
  });
}

Trace read_answer(std::string_view text) {
  const std::size_t num_spans = take_number(text, ' '), text_size = take_number(text, '\n');
  if (text_size > text.size()) throw ConfigError("answer: expected a trace, got a part of it");
  Trace trace = read_trace_text(text.substr(0, text_size), "answer");
  const std::string_view bytes = text.substr(text_size);
  Columns columns(bytes, num_spans);
  const std::size_t step = columns.next<std::int32_t>(), rank = columns.next<std::int32_t>(),
                    key = columns.next<OpKey>(), queue = columns.next<Queue>(), ready = columns.next<double>(),
                    start = columns.next<double>(), end = columns.next<double>(),
                    last_peer = columns.next<std::int32_t>(), sent = columns.next<double>();
  require_whole(bytes.size(), columns.size());
  trace.spans.reserve(num_spans);
  for (std::size_t i = 0; i < num_spans; ++i) {
    trace.spans.push_back({.step = columns.at<std::int32_t>(step, i),
                           .rank = columns.at<std::int32_t>(rank, i),
                           .key = columns.at<OpKey>(key, i),
                           .queue = columns.at<Queue>(queue, i),
                           .ready = seconds(columns.at<double>(ready, i)),
                           .start = seconds(columns.at<double>(start, i)),
                           .end = seconds(columns.at<double>(end, i)),
                           .last_peer = columns.at<std::int32_t>(last_peer, i),
                           .bytes = orrery::bytes(columns.at<double>(sent, i))});
  }
  return trace;
}

}  // namespace orrery::sim
