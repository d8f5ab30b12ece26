// SPDX-License-Identifier: Apache-2.0
#include "sim/worker_answer.h"

#include "base/check.h"
#include "base/errors.h"
#include "sim/link_use_json.h"
#include "sim/next_text.h"
#include "traces/trace_io.h"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <sstream>
#include <string>
#include <type_traits>
#include <utility>

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

/// The columns of a block, read row by row.
class Columns {
 public:
  explicit Columns(std::size_t num_rows) : num_rows_(num_rows) {}

  /// Where the next column begins.
  template <class T>
  std::size_t next() {
    const std::size_t begin = bytes_.size();
    bytes_.resize(begin + num_rows_ * sizeof(T));
    return begin;
  }
  void read(std::istream& in) {
    in.read(bytes_.data(), static_cast<std::streamsize>(bytes_.size()));
    const auto got = static_cast<std::size_t>(in.gcount());
    if (got == bytes_.size()) return;
    throw ConfigError(fmt::format("answer: expected {} bytes of spans, got {}", bytes_.size(), got));
  }

  template <class T>
  T at(std::size_t column, std::size_t row) const {
    T value;
    std::memcpy(&value, bytes_.data() + column + row * sizeof(T), sizeof(T));
    return value;
  }

 private:
  std::size_t num_rows_;
  std::string bytes_;
};

/// `num_left`: spans that have not come yet.
void read_block(std::istream& in, std::size_t num_left, Spans& spans) {
  std::uint64_t num_rows = 0;
  in.read(reinterpret_cast<char*>(&num_rows), sizeof(num_rows));
  if (!in || num_rows == 0 || num_rows > num_left) {
    throw ConfigError(fmt::format("answer: expected {} spans more", num_left));
  }
  Columns columns(num_rows);
  const std::size_t step = columns.next<std::int32_t>(), rank = columns.next<std::int32_t>(),
                    key = columns.next<OpKey>(), queue = columns.next<Queue>(), ready = columns.next<double>(),
                    start = columns.next<double>(), end = columns.next<double>(),
                    last_peer = columns.next<std::int32_t>(), sent = columns.next<double>();
  columns.read(in);
  spans.reserve(num_rows);
  for (std::size_t i = 0; i < num_rows; ++i) {
    spans.push_back({.step = columns.at<std::int32_t>(step, i),
                     .rank = columns.at<std::int32_t>(rank, i),
                     .key = columns.at<OpKey>(key, i),
                     .queue = columns.at<Queue>(queue, i),
                     .ready = seconds(columns.at<double>(ready, i)),
                     .start = seconds(columns.at<double>(start, i)),
                     .end = seconds(columns.at<double>(end, i)),
                     .last_peer = columns.at<std::int32_t>(last_peer, i),
                     .bytes = orrery::bytes(columns.at<double>(sent, i))});
  }
}

/// The number that comes next, and the character behind it.
template <class Int>
Int take_number(std::istream& in, char behind) {
  Int value = 0;
  if (!(in >> value) || in.get() != behind) throw ConfigError("answer: expected a line of four numbers");
  return value;
}

std::string whole_text(std::istream& in, std::size_t size) {
  std::string text = next_text(in, size);
  if (text.size() < size) throw ConfigError("answer: expected a trace, got a part of it");
  return text;
}

}  // namespace

AnswerWriter::AnswerWriter(std::ostream& out, const Answer& answer, std::size_t num_spans) : out_(out) {
  CHECK(answer.trace.spans.size() == 0, answer.trace.spans.size());
  std::ostringstream rest;
  write_trace(rest, answer.trace);
  const std::string text = rest.str(), use = answer.use ? to_json(*answer.use) : "";
  out_ << fmt::format("{} {} {} {}\n", answer.fingerprint, num_spans, text.size(), use.size()) << text << use;
}

void AnswerWriter::write(const Spans& spans) {
  const std::uint64_t num_rows = spans.size();
  out_.write(reinterpret_cast<const char*>(&num_rows), sizeof(num_rows));
  for_each_column(spans, [&](const auto& column) {
    using T = typename std::decay_t<decltype(column)>::value_type;
    static_assert(std::has_unique_object_representations_v<T> || std::is_floating_point_v<T>);
    out_.write(reinterpret_cast<const char*>(column.data()), static_cast<std::streamsize>(column.size() * sizeof(T)));
  });
}

AnswerReader::AnswerReader(std::istream& in) : in_(in) {
  answer_.fingerprint = take_number<std::int64_t>(in, ' ');
  num_left_ = take_number<std::size_t>(in, ' ');
  const auto text_size = take_number<std::size_t>(in, ' '), use_size = take_number<std::size_t>(in, '\n');
  answer_.trace = read_trace_text(whole_text(in, text_size), "answer");
  if (use_size > 0) answer_.use = read_use_of_links(whole_text(in, use_size));
}

Spans AnswerReader::next() {
  Spans spans;
  if (num_left_ > 0) read_block(in_, num_left_, spans);
  num_left_ -= spans.size();
  if (num_left_ == 0 && in_.peek() != std::istream::traits_type::eof()) {
    throw ConfigError("answer: expected nothing behind its spans");
  }
  return spans;
}

}  // namespace orrery::sim
