// SPDX-License-Identifier: Apache-2.0
#include "base/check.h"

#include "base/errors.h"

#include <string>

#include <fmt/format.h>

namespace orrery::detail {
namespace {

/// "planner/search.cpp" of "/any/where/planner/search.cpp".
std::string_view last_two_parts(std::string_view path) {
  const std::size_t name = path.rfind('/');
  if (name == std::string_view::npos || name == 0) return path;
  const std::size_t folder = path.rfind('/', name - 1);
  return folder == std::string_view::npos ? path : path.substr(folder + 1);
}

/// Takes the first of the comma-separated expressions off `names`; commas inside brackets separate nothing.
std::string_view take_name(std::string_view& names) {
  int depth = 0;
  std::size_t end = 0;
  for (; end < names.size() && (depth > 0 || names[end] != ','); ++end) {
    if (names[end] == '(' || names[end] == '[' || names[end] == '{') ++depth;
    if (names[end] == ')' || names[end] == ']' || names[end] == '}') --depth;
  }
  const std::string_view name = names.substr(0, end);
  names.remove_prefix(std::min(end + 1, names.size()));
  while (names.starts_with(' ')) names.remove_prefix(1);
  return name;
}

}  // namespace

void check_failed(std::string_view file, int line, std::string_view expression, std::string_view names,
                  std::initializer_list<CheckValue> values) {
  std::string text = fmt::format("{}:{}: CHECK failed: {}", last_two_parts(file), line, expression);
  std::string_view separator = " (";
  for (const CheckValue& value : values) {
    const std::string_view name = take_name(names);
    text += std::visit([&](auto x) { return fmt::format("{}{} = {}", separator, name, x); }, value.get());
    separator = ", ";
  }
  if (values.size() > 0) text += ')';
  throw InternalError(text);
}

}  // namespace orrery::detail
