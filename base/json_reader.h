// SPDX-License-Identifier: Apache-2.0
// The one strict way to read JSON. A document is parsed once, keeping the line of every value; typed cursors then
// read it, mark keys as used and collect problems. A wrong value yields a problem and a harmless default, so that
// reading goes on and the user sees everything that is wrong with the file at once:
//     JsonDocument document = JsonDocument::parse_file(path);
//     const JsonObject in = document.root();
//     in.schema("cluster/1");
//     out.nodes = in.required("nodes").integer<int>({.min = 1, .max = 65536});
//     out.link = in.required("link").quantity<BytesPerSecond>();
//     out.nics = in.optional("nics").integer<int>({.min = 1}).value_or(1);
//     in.finish();                        // unknown keys are problems: did you mean ...
//     document.throw_if_problems();
// Nothing is converted silently: 3.0 is no integer, "3" no number, a bare number no quantity, null no value.
// Cursors are cheap copies and point into the document, which must outlive them.
#pragma once

#include "base/enum_names.h"
#include "base/errors.h"
#include "base/units.h"
#include "base/units_parse.h"

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace orrery {

class JsonObject;
class JsonWriter;
namespace detail {
struct JsonNode;
struct JsonTree;
}  // namespace detail

/// Bounds of an integer, both included.
struct IntegerRange {
  std::int64_t min = std::numeric_limits<std::int64_t>::min();
  std::int64_t max = std::numeric_limits<std::int64_t>::max();
};

/// Bounds of a number, both included; a number is always finite.
struct NumberRange {
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
};

/// Which quantities a key accepts. The default guards what one divides by; a latency says `Sign::not_negative`.
enum class Sign { positive, not_negative, any };

enum class JsonKind { null, boolean, integer, number, string, array, object };

/// One value of a document. Each reader reports a problem and returns a default if the value is of another kind or
/// out of bounds: the lower bound (or zero) for numbers, "" for text, an empty array or object.
class JsonValue {
 public:
  /// A value that is missing, which was reported already, counts as null.
  JsonKind kind() const;
  bool is_null() const { return kind() == JsonKind::null; }
  int line() const;
  std::string pointer() const;

  /// An integer written without fraction or exponent, within `range` and within `Int`.
  template <std::integral Int = std::int64_t>
  Int integer(IntegerRange range = {}) const;

  /// Any number, an integer included.
  double number(NumberRange range = {}) const;

  bool boolean() const;
  std::string string() const;

  /// A string with a unit, such as "400 Gbps".
  template <class Q>
  Q quantity(Sign sign = Sign::positive) const {
    return Q::from_si(number_with_unit(unit_table<Q>(), sign));
  }

  /// A quantity, or nothing for the string "unlimited".
  template <class Q>
  std::optional<Q> quantity_or_unlimited(Sign sign = Sign::positive) const {
    if (is_text("unlimited")) return std::nullopt;
    return quantity<Q>(sign);
  }

  /// A string with a unit of any table, in the table's base unit: `number_with_unit(price_units())`.
  double number_with_unit(const UnitTable& table, Sign sign = Sign::positive) const;

  /// One of a few names; the first one after a problem.
  std::string one_of(std::initializer_list<std::string_view> names) const;

  /// The enum value of a name, from its table: `one_of<Schedule>(kScheduleNames)`.
  template <class E, std::size_t N>
  E one_of(const Named<E> (&names)[N]) const;

  std::vector<JsonValue> array() const;
  JsonObject object() const;

  /// Whether this is a string equal to `text`; never a problem.
  bool is_text(std::string_view text) const;

  /// Writes the value again, its keys in their order and its numbers as they were written. Reads nothing: keys stay
  /// unread for `finish`.
  void write(JsonWriter& out) const;

  /// Reports that something is wrong with this value: "expected a divisor of 256 (number of experts), got 48".
  void problem(std::string message, std::string hint = "") const;

 private:
  friend class JsonObject;
  friend class JsonDocument;
  JsonValue(detail::JsonTree* tree, std::int32_t node) : tree_(tree), node_(node) {}
  const detail::JsonNode* expect(bool kind_fits, std::string_view expected, std::string_view hint = "") const;
  std::int64_t integer_in(IntegerRange range) const;
  std::size_t choice_of(std::span<const std::string_view> names) const;

  detail::JsonTree* tree_ = nullptr;
  std::int32_t node_ = -1;  // -1: stands for a value that was missing, already reported
};

/// A value that may be absent; each reader then returns nothing. What is there is read as strictly as any value.
class OptionalJsonValue {
 public:
  explicit OptionalJsonValue(std::optional<JsonValue> value) : value_(value) {}

  bool present() const { return value_.has_value(); }

  /// Requires: present().
  const JsonValue& value() const { return *value_; }

  template <std::integral Int = std::int64_t>
  std::optional<Int> integer(IntegerRange range = {}) const {
    return read([&](const JsonValue& v) { return v.integer<Int>(range); });
  }
  std::optional<double> number(NumberRange range = {}) const {
    return read([&](const JsonValue& v) { return v.number(range); });
  }
  std::optional<bool> boolean() const {
    return read([](const JsonValue& v) { return v.boolean(); });
  }
  std::optional<std::string> string() const {
    return read([](const JsonValue& v) { return v.string(); });
  }
  template <class Q>
  std::optional<Q> quantity(Sign sign = Sign::positive) const {
    return read([&](const JsonValue& v) { return v.quantity<Q>(sign); });
  }
  std::optional<double> number_with_unit(const UnitTable& table, Sign sign = Sign::positive) const {
    return read([&](const JsonValue& v) { return v.number_with_unit(table, sign); });
  }
  std::optional<std::string> one_of(std::initializer_list<std::string_view> names) const {
    return read([&](const JsonValue& v) { return v.one_of(names); });
  }
  template <class E, std::size_t N>
  std::optional<E> one_of(const Named<E> (&names)[N]) const {
    return read([&](const JsonValue& v) { return v.one_of<E>(names); });
  }
  std::optional<std::vector<JsonValue>> array() const {
    return read([](const JsonValue& v) { return v.array(); });
  }
  std::optional<JsonObject> object() const;

 private:
  template <class Read>
  auto read(Read&& read_value) const -> std::optional<decltype(read_value(std::declval<const JsonValue&>()))> {
    if (!value_) return std::nullopt;
    return read_value(*value_);
  }

  std::optional<JsonValue> value_;
};

/// One object of a document.
class JsonObject {
 public:
  /// The value of `key`; a problem if it is missing.
  JsonValue required(std::string_view key) const;

  /// The value of `key`, if it is there. null is a value that the typed readers refuse.
  OptionalJsonValue optional(std::string_view key) const;

  /// Like `optional`, but null counts as absent (for formats of others, where it means that).
  OptionalJsonValue nullable(std::string_view key) const;

  /// The required key "schema" with exactly this text.
  void schema(std::string_view expected) const;

  bool has(std::string_view key) const;

  /// All keys in the order of the file; does not count as reading them.
  std::vector<std::string> keys() const;

  /// Marks keys as read that the caller knows and does not need.
  void ignore(std::initializer_list<std::string_view> keys) const;
  void ignore(std::string_view key) const;

  /// Reports every key that was neither read nor asked for, with the nearest known key as a hint.
  void finish() const;

  int line() const { return value_.line(); }
  const JsonValue& value() const { return value_; }
  void problem(std::string message, std::string hint = "") const;

 private:
  friend class JsonValue;
  explicit JsonObject(JsonValue value) : value_(value) {}
  std::optional<JsonValue> find(std::string_view key) const;

  JsonValue value_;
};

/// A parsed document and the problems found in it.
class JsonDocument {
 public:
  /// Throws: ConfigError if the file cannot be read or is no JSON (invalid UTF-8, nesting above 200). NaN is a problem.
  static JsonDocument parse_file(const std::string& path);

  /// `name` stands for the file in messages; `first_line` is for JSON Lines, where each line is a document.
  static JsonDocument parse_text(std::string_view text, std::string name, int first_line = 1);

  JsonDocument(JsonDocument&&) noexcept;
  JsonDocument& operator=(JsonDocument&&) noexcept;
  ~JsonDocument();

  /// The document's object; a problem if it is something else.
  JsonObject root() const;
  JsonValue root_value() const;

  const std::string& name() const;
  const ProblemList& problems() const;

  /// Throws: ConfigError with all problems reported so far.
  void throw_if_problems() const;

 private:
  explicit JsonDocument(std::unique_ptr<detail::JsonTree> tree);
  std::unique_ptr<detail::JsonTree> tree_;
};

template <std::integral Int>
Int JsonValue::integer(IntegerRange range) const {
  if (std::in_range<std::int64_t>(std::numeric_limits<Int>::max())) {
    range.max = std::min(range.max, static_cast<std::int64_t>(std::numeric_limits<Int>::max()));
  }
  range.min = std::max(range.min, static_cast<std::int64_t>(std::numeric_limits<Int>::min()));
  return static_cast<Int>(integer_in(range));
}

template <class E, std::size_t N>
E JsonValue::one_of(const Named<E> (&names)[N]) const {
  std::string_view texts[N];
  for (std::size_t i = 0; i < N; ++i) texts[i] = names[i].name;
  return names[choice_of(texts)].value;
}

inline std::optional<JsonObject> OptionalJsonValue::object() const {
  return read([](const JsonValue& v) { return v.object(); });
}

}  // namespace orrery
