// SPDX-License-Identifier: Apache-2.0
#include "base/json_reader.h"

#include "base/files.h"
#include "base/json_tree.h"
#include "base/json_writer.h"
#include "base/suggestion.h"

#include <cmath>
#include <utility>

#include <fmt/format.h>

namespace orrery {
namespace {

using detail::JsonNode;

constexpr std::size_t kLongestQuote = 60;

/// NaN and infinities are problems already when a text is parsed.
bool is_reported(const JsonNode& node) { return node.kind == JsonKind::number && !std::isfinite(node.number); }

/// What stands in the file, for "expected ..., got ...".
std::string found(const JsonNode& node) {
  switch (node.kind) {
    case JsonKind::null:
      return "null";
    case JsonKind::boolean:
      return node.boolean ? "true" : "false";
    case JsonKind::integer:
    case JsonKind::number:
      return node.text.size() <= kLongestQuote ? node.text : node.text.substr(0, kLongestQuote) + "...";
    case JsonKind::string:
      return node.text.size() <= kLongestQuote ? '"' + node.text + '"'
                                               : fmt::format("a string of {} bytes", node.text.size());
    case JsonKind::array:
      return fmt::format("an array of {}", node.children.size());
    case JsonKind::object:
      return "an object";
  }
  CHECK(false);
}

/// " of at least 1", " from 1 to 8": the bounds that matter. Bounds of the C++ type are named only when they are hit.
template <class T>
std::string bounds_text(T min, T max, bool show_min, bool show_max) {
  if (show_min && show_max) return fmt::format(" from {} to {}", min, max);
  if (show_min) return fmt::format(" of at least {}", min);
  if (show_max) return fmt::format(" of at most {}", max);
  return "";
}

std::string_view text_of(Sign sign) {
  switch (sign) {
    case Sign::positive:
      return ", above zero";
    case Sign::not_negative:
      return ", not below zero";
    case Sign::any:
      return "";
  }
  CHECK(false);
}

}  // namespace

JsonKind JsonValue::kind() const { return node_ < 0 ? JsonKind::null : tree_->node(node_).kind; }

int JsonValue::line() const { return node_ < 0 ? 0 : tree_->node(node_).line; }

std::string JsonValue::pointer() const { return node_ < 0 ? "" : tree_->pointer_of(node_); }

void JsonValue::problem(std::string message, std::string hint) const {
  if (node_ < 0) return;  // that it is missing was reported
  tree_->problems.add({.file = tree_->name,
                       .line = line(),
                       .pointer = pointer(),
                       .message = std::move(message),
                       .hint = std::move(hint)});
}

const JsonNode* JsonValue::expect(bool kind_fits, std::string_view expected, std::string_view hint) const {
  if (node_ < 0) return nullptr;
  const JsonNode& node = tree_->node(node_);
  if (kind_fits) return &node;
  problem(fmt::format("expected {}, got {}", expected, found(node)), std::string(hint));
  return nullptr;
}

std::int64_t JsonValue::integer_in(IntegerRange range) const {
  if (node_ >= 0 && is_reported(tree_->node(node_))) {
    return std::clamp<std::int64_t>(0, range.min, range.max);
  }
  const bool is_integer = kind() == JsonKind::integer;
  const std::int64_t value = is_integer ? tree_->node(node_).integer : 0;
  const bool fits = is_integer && value >= range.min && value <= range.max;
  if (fits) return value;
  constexpr IntegerRange kTypical{std::numeric_limits<std::int32_t>::min(), std::numeric_limits<std::int32_t>::max()};
  const bool show_min = range.min > kTypical.min || value < range.min;
  const bool show_max = range.max < kTypical.max || value > range.max;
  expect(false, "an integer" + bounds_text(range.min, range.max, show_min, show_max));
  return std::clamp<std::int64_t>(0, range.min, range.max);
}

double JsonValue::number(NumberRange range) const {
  const bool is_number = kind() == JsonKind::number || kind() == JsonKind::integer;
  if (is_number) {
    const double value = tree_->node(node_).number;
    if (is_reported(tree_->node(node_))) return std::clamp(0.0, range.min, range.max);
    if (value >= range.min && value <= range.max) return value;
  }
  expect(false, "a number" + bounds_text(range.min, range.max, std::isfinite(range.min), std::isfinite(range.max)));
  return std::clamp(0.0, range.min, range.max);
}

bool JsonValue::boolean() const {
  const JsonNode* node = expect(kind() == JsonKind::boolean, "true or false");
  return node != nullptr && node->boolean;
}

std::string JsonValue::string() const {
  const JsonNode* node = expect(kind() == JsonKind::string, "a string");
  return node == nullptr ? "" : node->text;
}

bool JsonValue::is_text(std::string_view text) const {
  return kind() == JsonKind::string && tree_->node(node_).text == text;
}

double JsonValue::number_with_unit(const UnitTable& table, Sign sign) const {
  constexpr double kDefault = 1.0;  // may be divided by
  const JsonNode* node = expect(kind() == JsonKind::string, table.expected);
  if (node == nullptr) return kDefault;
  const std::optional<double> value = parse_units(node->text, table);
  if (!value) {
    expect(false, table.expected, known_units(table));
    return kDefault;
  }
  if ((sign == Sign::positive && *value <= 0.0) || (sign == Sign::not_negative && *value < 0.0)) {
    expect(false, fmt::format("{}{}", table.expected, text_of(sign)));
    return kDefault;
  }
  return *value;
}

std::size_t JsonValue::choice_of(std::span<const std::string_view> names) const {
  const auto match = std::find_if(names.begin(), names.end(), [&](std::string_view name) { return is_text(name); });
  if (match != names.end()) return static_cast<std::size_t>(match - names.begin());
  expect(false, list_of_choices(names));
  return 0;
}

std::string JsonValue::one_of(std::initializer_list<std::string_view> names) const {
  return std::string(names.begin()[choice_of({names.begin(), names.size()})]);
}

std::vector<JsonValue> JsonValue::array() const {
  std::vector<JsonValue> values;
  const JsonNode* node = expect(kind() == JsonKind::array, "an array");
  if (node == nullptr) return values;
  for (const std::int32_t child : node->children) values.push_back(JsonValue(tree_, child));
  return values;
}

JsonObject JsonValue::object() const {
  const JsonNode* node = expect(kind() == JsonKind::object, "an object");
  return JsonObject(node == nullptr ? JsonValue(tree_, -1) : *this);
}

void JsonValue::write(JsonWriter& out) const {
  if (node_ < 0) {
    out.null();
    return;
  }
  const JsonNode& node = tree_->node(node_);
  switch (node.kind) {
    case JsonKind::null:
      out.null();
      break;
    case JsonKind::boolean:
      out.value(node.boolean);
      break;
    case JsonKind::integer:
    case JsonKind::number:
      out.token(node.text);
      break;
    case JsonKind::string:
      out.value(node.text);
      break;
    case JsonKind::array:
      out.begin_array();
      for (const std::int32_t child : node.children) JsonValue(tree_, child).write(out);
      out.end_array();
      break;
    case JsonKind::object:
      out.begin_object();
      for (const std::int32_t child : node.children) {
        out.key(tree_->node(child).key);
        JsonValue(tree_, child).write(out);
      }
      out.end_object();
      break;
  }
}

std::optional<JsonValue> JsonObject::find(std::string_view key) const {
  detail::JsonTree* tree = value_.tree_;
  if (value_.node_ < 0) return std::nullopt;
  for (const std::int32_t child : tree->node(value_.node_).children) {
    if (tree->node(child).key == key) return JsonValue(tree, child);
  }
  return std::nullopt;
}

OptionalJsonValue JsonObject::optional(std::string_view key) const {
  const std::optional<JsonValue> value = find(key);
  if (value) {
    value->tree_->node(value->node_).used = true;
  } else if (value_.node_ >= 0) {
    value_.tree_->asked[value_.node_].emplace_back(key);
  }
  return OptionalJsonValue(value);
}

OptionalJsonValue JsonObject::nullable(std::string_view key) const {
  const OptionalJsonValue value = optional(key);
  return value.present() && value.value().is_null() ? OptionalJsonValue(std::nullopt) : value;
}

JsonValue JsonObject::required(std::string_view key) const {
  const OptionalJsonValue value = optional(key);
  if (value.present()) return value.value();
  problem(fmt::format("expected the key \"{}\", which is missing", key));
  return JsonValue(value_.tree_, -1);
}

void JsonObject::schema(std::string_view expected) const { required("schema").one_of({expected}); }

bool JsonObject::has(std::string_view key) const { return find(key).has_value(); }

std::vector<std::string> JsonObject::keys() const {
  std::vector<std::string> keys;
  if (value_.node_ < 0) return keys;
  for (const std::int32_t child : value_.tree_->node(value_.node_).children) {
    keys.push_back(value_.tree_->node(child).key);
  }
  return keys;
}

void JsonObject::ignore(std::initializer_list<std::string_view> keys) const {
  for (const std::string_view key : keys) ignore(key);
}

void JsonObject::ignore(std::string_view key) const { static_cast<void>(optional(key)); }

void JsonObject::finish() const {
  if (value_.node_ < 0) return;
  detail::JsonTree& tree = *value_.tree_;
  const std::vector<std::int32_t>& children = tree.node(value_.node_).children;
  std::vector<std::string> known = tree.asked[value_.node_];
  for (const std::int32_t child : children) {
    if (tree.node(child).used) known.push_back(tree.node(child).key);
  }
  for (const std::int32_t child : children) {
    const JsonNode& node = tree.node(child);
    if (node.used) continue;
    const std::string nearest = nearest_word(node.key, known);
    Problem problem{.file = tree.name, .line = node.key_line, .pointer = tree.pointer_of(child)};
    if (nearest.empty()) {
      std::sort(known.begin(), known.end());
      known.erase(std::unique(known.begin(), known.end()), known.end());
      problem.message = "unknown key";
      problem.hint = fmt::format("known keys: {}", fmt::join(known, ", "));
    } else {
      problem.message = fmt::format("unknown key; did you mean \"{}\"?", nearest);
    }
    tree.problems.add(std::move(problem));
  }
}

void JsonObject::problem(std::string message, std::string hint) const {
  value_.problem(std::move(message), std::move(hint));
}

JsonDocument::JsonDocument(std::unique_ptr<detail::JsonTree> tree) : tree_(std::move(tree)) {}
JsonDocument::JsonDocument(JsonDocument&&) noexcept = default;
JsonDocument& JsonDocument::operator=(JsonDocument&&) noexcept = default;
JsonDocument::~JsonDocument() = default;

JsonDocument JsonDocument::parse_file(const std::string& path) { return parse_text(read_file(path), path); }

JsonDocument JsonDocument::parse_text(std::string_view text, std::string name, int first_line) {
  return JsonDocument(detail::parse_json(text, std::move(name), first_line));
}

JsonValue JsonDocument::root_value() const { return JsonValue(tree_.get(), 0); }
JsonObject JsonDocument::root() const { return root_value().object(); }
const std::string& JsonDocument::name() const { return tree_->name; }
const ProblemList& JsonDocument::problems() const { return tree_->problems; }
void JsonDocument::throw_if_problems() const { tree_->problems.throw_if_any(); }

}  // namespace orrery
