// SPDX-License-Identifier: Apache-2.0
#include "traces/span_line.h"

#include "base/check.h"
#include "traces/queue_names.h"

#include <charconv>
#include <cmath>

namespace orrery {
namespace {

constexpr std::string_view kPrefix = "{\"span\":[";
constexpr std::string_view kSuffix = "]}";

template <class Number>
void append_number(std::string& out, Number x) {
  char buffer[32];
  const auto result = std::to_chars(buffer, buffer + sizeof buffer, x);
  out.append(buffer, result.ptr);
  out += ',';
}

void append_text(std::string& out, std::string_view text) {
  out += '"';
  out += text;
  out += "\",";
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Reads the elements of the array one after the other; after a failure every further read fails.
class Elements {
 public:
  explicit Elements(std::string_view text) : rest_(text) {}

  /// True if every element was read and nothing follows.
  bool complete() const { return good_ && rest_.empty(); }

  /// A number as JSON writes it; std::from_chars alone would take "01", "1." and "inf".
  template <class Number>
  Number number() {
    const std::string_view token = next();
    Number value{};
    const std::size_t first = token.starts_with('-') ? 1 : 0;
    const std::size_t point = token.find('.');
    good_ = good_ && first < token.size() && is_digit(token[first]);
    good_ = good_ && (token[first] != '0' || first + 1 == token.size() || !is_digit(token[first + 1]));
    good_ = good_ && (point == std::string_view::npos || (point + 1 < token.size() && is_digit(token[point + 1])));
    if (!good_) return value;
    const auto [end, error] = std::from_chars(token.data(), token.data() + token.size(), value);
    good_ = error == std::errc() && end == token.data() + token.size();
    return value;
  }

  /// A string without escapes, which no key and no queue has.
  std::string_view text() {
    const std::string_view token = next();
    good_ = good_ && token.size() >= 2 && token.front() == '"' && token.back() == '"';
    return good_ ? token.substr(1, token.size() - 2) : std::string_view();
  }

  OpKey key() {
    const std::optional<OpKey> key = parse_op_key(text());
    good_ = good_ && key;
    return key.value_or(OpKey());
  }

  Queue queue() {
    const std::optional<Queue> queue = find_named(kQueueNames, text());
    good_ = good_ && queue;
    return queue.value_or(Queue::compute);
  }

 private:
  /// The text up to the next comma, which is taken as well.
  std::string_view next() {
    const std::string_view token = rest_.substr(0, rest_.find(','));
    // A comma at the end promises another element: keep it, so that complete() is false.
    rest_.remove_prefix(token.size() + (token.size() + 1 < rest_.size() ? 1 : 0));
    return token;
  }

  std::string_view rest_;
  bool good_ = true;
};

}  // namespace

void append_span_line(std::string& out, const Span& span) {
  const double numbers[] = {span.ready.in(unit::second), span.start.in(unit::second), span.end.in(unit::second)};
  const double sent = span.bytes.in(unit::byte);
  for (const double x : numbers) CHECK(std::isfinite(x), to_string(span.key), x);
  CHECK(std::isfinite(sent), to_string(span.key), sent);
  out += kPrefix;
  append_number(out, span.step);
  append_number(out, span.rank);
  append_text(out, to_string(span.key));
  append_text(out, name_of(kQueueNames, span.queue));
  for (const double x : numbers) append_number(out, x);
  append_number(out, span.last_peer);
  append_number(out, sent);
  out.pop_back();
  out += kSuffix;
  out += '\n';
}

std::optional<Span> parse_span_line(std::string_view line) {
  if (!line.starts_with(kPrefix) || !line.ends_with(kSuffix)) return std::nullopt;
  line.remove_prefix(kPrefix.size());
  line.remove_suffix(kSuffix.size());
  Elements in(line);
  // Braces: the elements are evaluated from left to right.
  const Span span{.step = in.number<std::int32_t>(),
                  .rank = in.number<std::int32_t>(),
                  .key = in.key(),
                  .queue = in.queue(),
                  .ready = seconds(in.number<double>()),
                  .start = seconds(in.number<double>()),
                  .end = seconds(in.number<double>()),
                  .last_peer = in.number<std::int32_t>(),
                  .bytes = bytes(in.number<double>())};
  if (!in.complete()) return std::nullopt;
  return span;
}

}  // namespace orrery
