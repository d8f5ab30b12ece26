// SPDX-License-Identifier: Apache-2.0
// Arguments as a shell reads them, from a file or a pasted line (shell_words.h), or in a script that holds them in
// arrays: --name value... or --name=value. What stands before the program (a launcher) is skipped, up to the first word
// that ends in ".py". Reading a name marks it; a wrong value is a problem with its line and a harmless default, so that
// all problems of a list come at once.
#pragma once

#include "base/enum_names.h"
#include "base/errors.h"

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace orrery::planner {

/// Far above any size, far below what would overflow a product of two.
inline constexpr std::int64_t kMostSize = std::int64_t{1} << 30;

class ArgumentList {
 public:
  /// `file`: for messages.
  ArgumentList(std::string_view text, std::string file);

  bool has(std::string_view name) const { return arguments_.contains(name); }

  /// Each marks `name` as read. Nothing: it is not there, or its value is a problem.
  std::optional<std::int64_t> integer(std::string_view name, std::int64_t min = 1, std::int64_t max = kMostSize);
  std::optional<double> number(std::string_view name);
  std::optional<std::string> word(std::string_view name);
  std::optional<std::vector<std::string>> words(std::string_view name);
  /// Whether the switch is there.
  bool on(std::string_view name);
  template <class E, std::size_t N>
  std::optional<E> one_of(std::string_view name, const Named<E> (&names)[N]) {
    const std::optional<std::string> found = word(name);
    if (!found) return std::nullopt;
    if (const std::optional<E> value = find_named(names, *found)) return value;
    std::vector<std::string_view> choices;
    for (const Named<E>& named : names) choices.push_back(named.name);
    expected_one_of(name, choices, *found);
    return std::nullopt;
  }

  /// Something is wrong with the value of `name`, or with its absence.
  void problem(std::string_view name, std::string message, std::string hint = "");
  void expected_one_of(std::string_view name, const std::vector<std::string_view>& choices, std::string_view got);

  /// Names that were not read, in the order of the text.
  std::vector<std::string> unread() const;

  /// Throws: ConfigError with all problems.
  void throw_if_any() const { problems_.throw_if_any(); }

 private:
  struct Argument {
    std::vector<std::string> values;
    int line = 0;
    std::size_t place = 0;
    bool read = false;
  };
  Argument* read(std::string_view name);

  std::string file_;
  std::map<std::string, Argument, std::less<>> arguments_;
  ProblemList problems_;
};

}  // namespace orrery::planner
