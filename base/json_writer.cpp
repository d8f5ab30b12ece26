// SPDX-License-Identifier: Apache-2.0
#include "base/json_writer.h"

#include "base/json_reader.h"

#include <charconv>
#include <cmath>

#include <fmt/format.h>

namespace orrery {
namespace {

constexpr std::size_t kIndentation = 2;

void append_quoted(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("\\u{:04x}", static_cast<int>(c));
    } else {
      out += c;
    }
  }
  out += '"';
}

}  // namespace

JsonWriter& JsonWriter::key(std::string_view name) {
  CHECK(!levels_.empty() && !levels_.back().is_array && !after_key_, name);
  if (!levels_.back().empty) text_ += ',';
  levels_.back().empty = false;
  levels_.back().broken = true;
  new_line();
  append_quoted(text_, name);
  text_ += layout_ == Layout::pretty ? ": " : ":";
  after_key_ = true;
  return *this;
}

JsonWriter& JsonWriter::value(std::string_view text) {
  before_value(false);
  append_quoted(text_, text);
  return *this;
}

JsonWriter& JsonWriter::value(double x) {
  CHECK(std::isfinite(x), x);
  char buffer[32];
  const auto result = std::to_chars(buffer, buffer + sizeof buffer, x);
  return token(std::string_view(buffer, static_cast<std::size_t>(result.ptr - buffer)));
}

JsonWriter& JsonWriter::value(const JsonValue& x) {
  x.write(*this);
  return *this;
}

void JsonWriter::clear() {
  CHECK(levels_.empty(), levels_.size());
  text_.clear();
}

JsonWriter& JsonWriter::integer(std::int64_t x) {
  char buffer[32];
  const auto result = std::to_chars(buffer, buffer + sizeof buffer, x);
  return token(std::string_view(buffer, static_cast<std::size_t>(result.ptr - buffer)));
}

JsonWriter& JsonWriter::token(std::string_view text) {
  before_value(false);
  text_ += text;
  return *this;
}

JsonWriter& JsonWriter::open(char bracket) {
  before_value(true);
  text_ += bracket;
  levels_.push_back({.is_array = bracket == '['});
  return *this;
}

JsonWriter& JsonWriter::close(char bracket) {
  CHECK(!levels_.empty() && levels_.back().is_array == (bracket == ']') && !after_key_);
  const bool broken = levels_.back().broken;
  levels_.pop_back();
  if (broken) new_line();
  text_ += bracket;
  if (levels_.empty() && layout_ == Layout::pretty) text_ += '\n';
  return *this;
}

void JsonWriter::before_value(bool is_container) {
  if (after_key_) {
    after_key_ = false;
    return;
  }
  if (levels_.empty()) return;
  Level& level = levels_.back();
  CHECK(level.is_array);
  const bool first = level.empty;
  level.empty = false;
  if (!first) text_ += ',';
  if (is_container) {
    level.broken = true;
    new_line();
  } else if (!first && layout_ == Layout::pretty) {
    text_ += ' ';
  }
}

void JsonWriter::new_line() {
  if (layout_ == Layout::line) return;
  text_ += '\n';
  text_.append(kIndentation * levels_.size(), ' ');
}

}  // namespace orrery
