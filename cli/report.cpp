// SPDX-License-Identifier: Apache-2.0
#include "cli/report.h"

#include "base/check.h"
#include "base/errors.h"
#include "base/json_writer.h"
#include "base/units_format.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>

#include <fmt/format.h>

namespace orrery::cli {
namespace {

std::string with_separators(std::int64_t x) {
  const std::string digits = fmt::format("{}", x);
  const std::size_t first = x < 0 ? 1 : 0;
  std::string text;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > first && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

/// Characters of UTF-8 text.
std::size_t width(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::string padded(std::string_view text, std::size_t to, bool right) {
  const std::string space(to - std::min(to, width(text)), ' ');
  return right ? space + std::string(text) : std::string(text) + space;
}

struct ScalarWriter {
  JsonWriter& out;
  void operator()(std::monostate) const { out.null(); }
  void operator()(const auto& x) const { out.value(x); }
};

std::string text_of(const Table& table) {
  const std::size_t num_columns = table.columns.size();
  std::vector<std::size_t> widths(num_columns);
  std::vector<bool> right(num_columns, true);
  for (std::size_t c = 0; c < num_columns; ++c) {
    widths[c] = width(table.columns[c].label);
    for (const std::vector<Value>& row : table.rows) {
      CHECK(row.size() == num_columns, row.size(), num_columns);
      widths[c] = std::max(widths[c], width(row[c].text()));
      const char first = row[c].text().empty() ? '-' : row[c].text().front();
      if (!row[c].is_number() && std::strchr("0123456789+-", first) == nullptr) right[c] = false;
    }
  }
  std::string text;
  const auto add_line = [&](const auto& cell) {
    std::string line = " ";
    for (std::size_t c = 0; c < num_columns; ++c) {
      if (!table.columns[c].for_machines) line += fmt::format(" {} ", padded(cell(c), widths[c], right[c]));
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  };
  add_line([&](std::size_t c) { return std::string_view(table.columns[c].label); });
  for (const std::vector<Value>& row : table.rows) {
    add_line([&](std::size_t c) { return std::string_view(row[c].text()); });
  }
  return text;
}

}  // namespace

Value::Value(double x) : json_(x) {
  if (!std::isfinite(x)) {
    *this = unknown();
  } else if (std::abs(x) >= 1000.0) {
    text_ = with_separators(std::llround(x));
  } else {
    text_ = fmt::format("{:.4g}", x);
  }
}

Value Value::count(std::int64_t x) { return {Json(x), with_separators(x)}; }

Value Value::percent(double ratio) {
  if (!std::isfinite(ratio)) return unknown();
  return {Json(ratio), fmt::format("{:.1f} %", 100.0 * ratio)};
}

Value Value::error(double error) {
  if (!std::isfinite(error)) return unknown("-");
  return {Json(error), fmt::format("{:+.1f} %", 100.0 * error)};
}

Value Value::list(std::string values) {
  constexpr std::size_t kReadable = 100;
  if (width(values) <= kReadable) return values;
  const auto number = std::count(values.begin(), values.end(), ' ') + 1;
  std::string text = fmt::format("{} ... ({} in all)", values.substr(0, values.rfind(' ', kReadable)), number);
  return {Json(std::move(values)), std::move(text)};
}

Value Value::unknown(std::string text) { return {Json(), std::move(text)}; }

template <class Q>
std::string Value::readable(Q x) {
  return to_text(x);
}
template std::string Value::readable(Seconds);
template std::string Value::readable(Hertz);
template std::string Value::readable(Bytes);
template std::string Value::readable(Flops);
template std::string Value::readable(Joules);
template std::string Value::readable(Watts);
template std::string Value::readable(BytesPerSecond);
template std::string Value::readable(FlopsPerSecond);

void Value::write(JsonWriter& out) const { std::visit(ScalarWriter{out}, json_); }

Report& Report::fact(std::string key, std::string label, Value value) {
  items_.emplace_back(Fact{std::move(key), std::move(label), std::move(value)});
  return *this;
}

Report& Report::table(std::string key, std::string title, Table table) {
  items_.emplace_back(TitledTable{std::move(key), std::move(title), std::move(table)});
  return *this;
}

Report& Report::section(std::string key, Report report) {
  items_.emplace_back(Section{std::move(key), {std::move(report)}});
  return *this;
}

Report& Report::note(std::string sentence) {
  if (std::find(notes_.begin(), notes_.end(), sentence) == notes_.end()) notes_.push_back(std::move(sentence));
  return *this;
}

std::string Report::text() const {
  std::string text;
  if (!title_.empty()) text += title_ + "\n" + std::string(width(title_), '-') + "\n";
  std::size_t label_width = 0;
  for (const auto& item : items_) {
    if (const Fact* fact = std::get_if<Fact>(&item)) label_width = std::max(label_width, width(fact->label));
  }
  for (const auto& item : items_) {
    if (const Fact* fact = std::get_if<Fact>(&item)) {
      text += fmt::format("  {}  {}\n", padded(fact->label, label_width, false), fact->value.text());
    } else if (const TitledTable* titled = std::get_if<TitledTable>(&item)) {
      text += fmt::format("{}{}:\n{}", text.empty() ? "" : "\n", titled->title, text_of(titled->table));
    } else {
      if (!text.empty()) text += '\n';
      text += std::get<Section>(item).report.front().text();
    }
  }
  if (!notes_.empty() && !text.empty()) text += '\n';
  for (const std::string& sentence : notes_) text += fmt::format("  note: {}\n", sentence);
  return text;
}

std::string Report::json() const {
  JsonWriter out;
  write(out);
  return out.text();
}

void Report::write(JsonWriter& out) const {
  out.begin_object();
  for (const auto& item : items_) {
    if (const Fact* fact = std::get_if<Fact>(&item)) {
      out.key(fact->key);
      fact->value.write(out);
    } else if (const TitledTable* titled = std::get_if<TitledTable>(&item)) {
      out.key(titled->key).begin_array();
      for (const std::vector<Value>& row : titled->table.rows) {
        out.begin_object();
        for (std::size_t c = 0; c < row.size(); ++c) row[c].write(out.key(titled->table.columns[c].key));
        out.end_object();
      }
      out.end_array();
    } else {
      const auto& [key, report] = std::get<Section>(item);
      report.front().write(out.key(key));
    }
  }
  out.key("notes").begin_array();
  for (const std::string& sentence : notes_) out.value(sentence);
  out.end_array().end_object();
}

void print(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0) return;
  throw BackendError(fmt::format("cannot write standard output: {}", std::strerror(errno)));
}

void print(const Report& report, bool json) { print(json ? report.json() : report.text()); }

}  // namespace orrery::cli
