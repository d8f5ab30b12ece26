// SPDX-License-Identifier: Apache-2.0
// Writes JSON text that depends on nothing but the calls: keys in the order given ("schema" first), numbers in the
// shortest form that reads back as the same double, two spaces of indentation, arrays of scalars on one line. Plans
// and traces can therefore be compared with `diff`. Not a document model: it appends to a string and forgets.
//     JsonWriter out;
//     out.begin_object().field("schema", "plan/1").key("ranks").begin_array().value(0).value(1).end_array();
//     out.end_object();
#pragma once

#include "base/check.h"
#include "base/units_parse.h"

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace orrery {

class JsonValue;

/// A stream of JSON tokens into a string.
class JsonWriter {
 public:
  /// pretty: indented, for files that people read. line: no white space, for JSON Lines.
  enum class Layout { pretty, line };

  explicit JsonWriter(Layout layout = Layout::pretty) : layout_(layout) {}

  JsonWriter& begin_object() { return open('{'); }
  JsonWriter& end_object() { return close('}'); }
  JsonWriter& begin_array() { return open('['); }
  JsonWriter& end_array() { return close(']'); }
  JsonWriter& key(std::string_view name);

  JsonWriter& value(std::string_view text);
  JsonWriter& value(const char* text) { return value(std::string_view(text)); }
  JsonWriter& value(std::same_as<bool> auto x) { return token(x ? "true" : "false"); }
  /// Requires: the integer fits std::int64_t, as that is what readers take.
  template <std::integral Int>
    requires(!std::same_as<Int, bool>)
  JsonWriter& value(Int x) {
    CHECK(std::in_range<std::int64_t>(x), x);
    return integer(static_cast<std::int64_t>(x));
  }
  /// Requires: finite; JSON has no other numbers.
  JsonWriter& value(double x);
  /// A quantity as text with its unit, exact: "12.3 us".
  template <int T, int D, int F, int E>
  JsonWriter& value(Quantity<T, D, F, E> x) {
    return value(std::string_view(exact_text(x)));
  }
  /// A copy of a value that was read: its keys in their order, its numbers as they were written.
  JsonWriter& value(const JsonValue& x);
  JsonWriter& null() { return token("null"); }

  template <class T>
  JsonWriter& field(std::string_view name, const T& x) {
    return key(name).value(x);
  }

  /// What was written so far; complete when every begin has its end. A pretty text ends in a newline then.
  const std::string& text() const { return text_; }

  /// Forgets the text, keeps the memory: one writer serves many lines. Requires: every begin has its end.
  void clear();

 private:
  friend class JsonValue;
  struct Level {
    bool is_array = false;
    bool empty = true;
    bool broken = false;  // an element stands on its own line, so the closing bracket does too
  };

  JsonWriter& open(char bracket);
  JsonWriter& close(char bracket);
  JsonWriter& token(std::string_view text);
  JsonWriter& integer(std::int64_t x);
  void before_value(bool is_container);
  void new_line();

  Layout layout_;
  std::string text_;
  std::vector<Level> levels_;
  bool after_key_ = false;
};

}  // namespace orrery
