// SPDX-License-Identifier: Apache-2.0
#include "planner/importers/argument_list.h"

#include "base/suggestion.h"
#include "planner/importers/shell_words.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>

#include <fmt/format.h>

namespace orrery::planner {
namespace {

constexpr const char* kFilledIn = "let the shell fill it in: echo ARGUMENTS > FILE";

template <class T>
std::optional<T> parsed(const std::string& text) {
  T x{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), x);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return x;
}

}  // namespace

ArgumentList::ArgumentList(std::string_view text, std::string file) : file_(std::move(file)) {
  ShellText shell = shell_words(text);
  if (shell.open_quote) {
    problems_.add(
        {.file = file_,
         .line = shell.open_quote->line,
         .message = fmt::format("expected a {} at the end of what it opens, got the end", shell.open_quote->quote)});
  }
  std::vector<ShellWord>& words = shell.words;
  const auto program =
      std::find_if(words.begin(), words.end(), [](const ShellWord& word) { return word.text.ends_with(".py"); });
  if (program != words.end()) {
    words.erase(words.begin(), program + 1);
  } else {
    words.insert(words.end(), shell.elements.begin(), shell.elements.end());
  }
  Argument* last = nullptr;
  for (const ShellWord& word : words) {
    if (word.text.starts_with("${") && word.text.ends_with("[@]}")) {
      problems_.add({.file = file_,
                     .line = word.line,
                     .message = fmt::format("expected arguments, got the shell's \"{}\"", word.text),
                     .hint = kFilledIn});
      continue;
    }
    if (word.text.starts_with("--")) {
      const std::size_t equals = word.text.find('=');
      last = &arguments_[word.text.substr(0, equals)];
      // As argparse has it, the last one counts.
      *last = {.values = {}, .line = word.line, .place = arguments_.size()};
      if (equals != std::string::npos) last->values.push_back(word.text.substr(equals + 1));
    } else if (last != nullptr) {
      last->values.push_back(word.text);
    }
  }
}

ArgumentList::Argument* ArgumentList::read(std::string_view name) {
  const auto found = arguments_.find(name);
  if (found == arguments_.end()) return nullptr;
  found->second.read = true;
  return &found->second;
}

std::optional<std::vector<std::string>> ArgumentList::words(std::string_view name) {
  const Argument* argument = read(name);
  if (argument == nullptr) return std::nullopt;
  if (argument->values.empty()) {
    problem(name, "expected a value, got none");
    return std::nullopt;
  }
  for (const std::string& value : argument->values) {
    if (value.find('$') == std::string::npos) continue;
    problem(name, fmt::format("expected a value, got the shell's \"{}\"", value), kFilledIn);
    return std::nullopt;
  }
  return argument->values;
}

std::optional<std::string> ArgumentList::word(std::string_view name) {
  const auto found = words(name);
  if (!found) return std::nullopt;
  if (found->size() == 1) return found->front();
  problem(name, fmt::format("expected one value, got {}", found->size()));
  return std::nullopt;
}

std::optional<std::int64_t> ArgumentList::integer(std::string_view name, std::int64_t min, std::int64_t max) {
  const std::optional<std::string> text = word(name);
  if (!text) return std::nullopt;
  const auto x = parsed<std::int64_t>(*text);
  if (x && *x >= min && *x <= max) return x;
  problem(name, fmt::format("expected an integer from {} to {}, got \"{}\"", min, max, *text));
  return std::nullopt;
}

std::optional<double> ArgumentList::number(std::string_view name) {
  const std::optional<std::string> text = word(name);
  if (!text) return std::nullopt;
  const auto x = parsed<double>(*text);
  if (x && std::isfinite(*x)) return x;
  problem(name, fmt::format("expected a number, got \"{}\"", *text));
  return std::nullopt;
}

bool ArgumentList::on(std::string_view name) {
  const Argument* argument = read(name);
  if (argument == nullptr) return false;
  if (!argument->values.empty()) {
    problem(name, fmt::format("expected no value, since it is a switch, got \"{}\"", argument->values.front()));
  }
  return true;
}

void ArgumentList::problem(std::string_view name, std::string message, std::string hint) {
  const auto found = arguments_.find(name);
  problems_.add({.file = file_,
                 .line = found == arguments_.end() ? 0 : found->second.line,
                 .pointer = std::string(name),
                 .message = std::move(message),
                 .hint = std::move(hint)});
}

void ArgumentList::expected_one_of(std::string_view name, const std::vector<std::string_view>& choices,
                                   std::string_view got) {
  problem(name, fmt::format("expected {}, got \"{}\"", list_of_choices(choices), got));
}

std::vector<std::string> ArgumentList::unread() const {
  std::vector<std::pair<std::size_t, std::string>> found;
  for (const auto& [name, argument] : arguments_) {
    if (!argument.read) found.emplace_back(argument.place, name);
  }
  std::sort(found.begin(), found.end());
  std::vector<std::string> names;
  for (auto& [place, name] : found) names.push_back(std::move(name));
  return names;
}

}  // namespace orrery::planner
