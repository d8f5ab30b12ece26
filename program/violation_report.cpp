// SPDX-License-Identifier: Apache-2.0
// From a broken rule to the line of the file that breaks it.
#include "program/json_parts.h"

#include <charconv>
#include <set>
#include <string_view>
#include <utility>

#include <fmt/format.h>

namespace orrery {
namespace {

std::optional<JsonValue> child_of(const JsonValue& value, std::string_view name) {
  if (value.kind() == JsonKind::object && value.object().has(name)) return value.object().required(name);
  if (value.kind() != JsonKind::array) return std::nullopt;
  std::size_t index = 0;
  std::from_chars(name.data(), name.data() + name.size(), index);
  const std::vector<JsonValue> elements = value.array();
  if (index >= elements.size()) return std::nullopt;
  return elements[index];
}

struct Place {
  JsonValue value;
  std::string_view rest;  // of the key, as far as the file does not spell it out
};

Place find(const JsonObject& in, std::string_view key) {
  Place place{in.value(), key};
  while (!place.rest.empty()) {
    const std::size_t slash = place.rest.find('/');
    const std::optional<JsonValue> child = child_of(place.value, place.rest.substr(0, slash));
    if (!child) break;
    place = {*child, slash == std::string_view::npos ? std::string_view() : place.rest.substr(slash + 1)};
  }
  return place;
}

}  // namespace

void report(const std::vector<Violation>& violations, const JsonObject& in) {
  std::set<std::pair<std::string, std::string>> reported;  // one shorthand may break a rule in every stage
  for (const Violation& violation : violations) {
    Place place = find(in, violation.key);
    const bool from_shorthand = violation.key.ends_with("/recompute") && in.has("recompute");
    if (from_shorthand) place = {in.required("recompute"), ""};
    const std::string message =
        place.rest.empty() ? violation.expected : fmt::format("{}: {}", place.rest, violation.expected);
    if (reported.insert({place.value.pointer(), message}).second) place.value.problem(message, violation.hint);
  }
}

}  // namespace orrery
