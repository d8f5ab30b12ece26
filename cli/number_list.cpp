// SPDX-License-Identifier: Apache-2.0
#include "cli/number_list.h"

#include "base/errors.h"
#include "base/number_text.h"

#include <optional>
#include <set>
#include <string>

#include <fmt/format.h>

namespace orrery::cli {
namespace {

std::optional<std::int64_t> number_of(std::string_view text) {
  const auto number = number_in<std::int64_t>(text);
  return number && *number >= 0 ? number : std::nullopt;
}

}  // namespace

std::vector<std::int64_t> number_list(std::string_view text, std::int64_t end, std::string_view what) {
  std::vector<std::int64_t> numbers;
  std::set<std::int64_t> known;
  for (std::string_view rest = text;;) {
    const std::size_t comma = rest.find(',');
    const std::string_view part = rest.substr(0, comma);
    const std::size_t dash = part.find('-');
    const auto first = number_of(part.substr(0, dash));
    const auto last = dash == std::string_view::npos ? first : number_of(part.substr(dash + 1));
    if (!first || !last || *last < *first) {
      throw ConfigError(fmt::format("{}: expected numbers such as \"3,8-15\", got \"{}\"", what, text));
    }
    if (*last >= end) throw ConfigError(fmt::format("{}: expected numbers below {}, got {}", what, end, *last));
    for (std::int64_t number = *first; number <= *last; ++number) {
      if (!known.insert(number).second) throw ConfigError(fmt::format("{}: {} stands twice", what, number));
      numbers.push_back(number);
    }
    if (comma == std::string_view::npos) return numbers;
    rest.remove_prefix(comma + 1);
  }
}

}  // namespace orrery::cli
