// SPDX-License-Identifier: Apache-2.0
// What a verb has to say, said once: `text()` is the table for people, `json()` the same values for machines. All
// presentation is here; a verb only lists its facts. Every key is defined in docs/metrics.md.
#pragma once

#include "base/units.h"
#include "base/units_parse.h"

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace orrery {
class JsonWriter;
}

namespace orrery::cli {

/// One value with its two spellings: "9.87 s" and "9.87 s", "38.9 %" and 0.389, "671,026,419,200" and 671026419200.
class Value {
 public:
  Value(std::string text) : json_(text), text_(std::move(text)) {}
  Value(std::string_view text) : Value(std::string(text)) {}
  Value(const char* text) : Value(std::string(text)) {}
  Value(std::same_as<bool> auto x) : json_(x), text_(x ? "yes" : "no") {}
  template <std::integral Int>
    requires(!std::same_as<Int, bool>)
  Value(Int x) : Value(count(static_cast<std::int64_t>(x))) {}
  Value(double x);
  template <int T, int D, int F, int E>
  Value(Quantity<T, D, F, E> x) : json_(exact_text(x)), text_(readable(x)) {}

  /// A ratio, as per cent for people.
  static Value percent(double ratio);
  /// A relative error, as per cent with its sign for people; null and a dash where there is none.
  static Value error(double error);
  /// Values between spaces; people get the first of a long list and their number.
  static Value list(std::string values);
  /// null, and a word for people.
  static Value unknown(std::string text = "unknown");

  const std::string& text() const { return text_; }
  bool is_number() const { return !std::holds_alternative<std::string>(json_); }
  void write(JsonWriter& out) const;

 private:
  using Json = std::variant<std::monostate, std::string, std::int64_t, double, bool>;
  Value(Json json, std::string text) : json_(std::move(json)), text_(std::move(text)) {}
  static Value count(std::int64_t x);
  template <class Q>
  static std::string readable(Q x);

  Json json_;
  std::string text_;
};

/// Rows under named columns; numbers are aligned to the right.
struct Table {
  struct Column {
    std::string key, label;
    bool for_machines = false;  // in JSON alone
  };
  std::vector<Column> columns;
  std::vector<std::vector<Value>> rows;  // each as long as columns
};

class Report {
 public:
  /// `title` stands above the text; empty: none.
  explicit Report(std::string title = "") : title_(std::move(title)) {}

  Report& fact(std::string key, std::string label, Value value);
  Report& table(std::string key, std::string title, Table table);
  /// A report inside this one, under its own title.
  Report& section(std::string key, Report report);
  /// A sentence that a reader should see; repeated ones are dropped.
  Report& note(std::string sentence);

  std::string text() const;
  std::string json() const;

 private:
  struct Fact {
    std::string key, label;
    Value value;
  };
  struct TitledTable {
    std::string key, title;
    Table table;
  };
  struct Section {
    std::string key;
    std::vector<Report> report;  // one; a vector because Report is not complete here
  };

  void write(JsonWriter& out) const;

  std::string title_;
  std::vector<std::variant<Fact, TitledTable, Section>> items_;
  std::vector<std::string> notes_;
};

/// Writes to stdout at once. Throws: BackendError if stdout takes nothing more, such as on a full disk.
void print(std::string_view text);
/// One report as text or as JSON.
void print(const Report& report, bool json);

}  // namespace orrery::cli
