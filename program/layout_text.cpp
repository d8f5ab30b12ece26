// SPDX-License-Identifier: Apache-2.0
#include "program/layout_text.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include <fmt/format.h>

namespace orrery {
namespace {

// Far above any model (int16 numbers its layers), far below what would fill memory.
constexpr std::size_t kMaxSymbols = 100'000;
constexpr std::string_view kSymbols = "EtmL|";

/// One symbol of the expanded text, and where it stands in what the user wrote.
struct Symbol {
  char letter = 't';
  std::size_t position = 0;
};

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  std::variant<std::vector<StageLayout>, LayoutTextProblem> run() {
    while (at_ < text_.size()) {
      if (!item()) return std::move(problem_);
    }
    if (!lay_out()) return std::move(problem_);
    return std::move(stages_);
  }

 private:
  bool refuse(std::size_t at, std::string message) {
    problem_ = {.position = at + 1, .message = std::move(message)};
    return false;
  }

  /// "expected ..., got what stands there".
  bool expected(std::string_view what) {
    const std::string got = at_ < text_.size() ? fmt::format("\"{}\"", text_[at_]) : "the end";
    return refuse(at_, fmt::format("expected {}, got {}", what, got));
  }

  bool next_is(char letter) const { return at_ < text_.size() && text_[at_] == letter; }

  bool item() {
    if (next_is(',')) return ++at_, true;
    if (next_is('(')) return group();
    return symbol(symbols_, "E, t, m, L, | or a group");
  }

  /// x, or x*n.
  bool symbol(std::vector<Symbol>& out, std::string_view what) {
    if (at_ == text_.size() || kSymbols.find(text_[at_]) == std::string_view::npos) return expected(what);
    const Symbol found{text_[at_], at_};
    ++at_;
    std::size_t count = 1;
    if (next_is('*') && !repeats(count)) return false;
    return append(out, {found}, count);
  }

  /// (..)*n.
  bool group() {
    std::vector<Symbol> inside;
    const std::size_t open = at_++;
    while (!next_is(')')) {
      if (next_is(',')) {
        ++at_;
      } else if (!symbol(inside, "E, t, m, L, | or )")) {
        return false;
      }
    }
    if (inside.empty()) return refuse(open, "expected symbols in the group, got none");
    ++at_;
    if (!next_is('*')) return expected("*n behind a group");
    std::size_t count = 1;
    return repeats(count) && append(symbols_, inside, count);
  }

  /// *n, with n from 1.
  bool repeats(std::size_t& count) {
    const std::size_t first = ++at_;
    count = 0;
    while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') {
      count = std::min(10 * count + static_cast<std::size_t>(text_[at_] - '0'), kMaxSymbols + 1);
      ++at_;
    }
    if (at_ == first) return expected("a count behind *");
    if (text_[first] == '0') return refuse(first, "expected a count from 1, without leading zeros, got \"0\"");
    if (next_is('*')) return expected("one count for an item");
    return true;
  }

  bool append(std::vector<Symbol>& out, const std::vector<Symbol>& part, std::size_t count) {
    if (out.size() + part.size() * count > kMaxSymbols) {
      return refuse(part.front().position, fmt::format("expected at most {} symbols in all", kMaxSymbols));
    }
    for (std::size_t i = 0; i < count; ++i) out.insert(out.end(), part.begin(), part.end());
    return true;
  }

  bool lay_out() {
    stages_.emplace_back();
    std::int64_t next_layer = 0, num_mtp = 0;
    for (std::size_t i = 0; i < symbols_.size(); ++i) {
      StageLayout& stage = stages_.back();
      const auto& [letter, position] = symbols_[i];
      if ((letter == 'E') != (i == 0)) {
        return refuse(position, i == 0 ? "expected E first" : "expected E once, as the first symbol");
      }
      if (letter == 'L' && i + 1 < symbols_.size()) return refuse(position, "expected L once, as the last symbol");
      if (letter == 't' && num_mtp > 0) return refuse(position, "expected no t behind an m");
      if (letter == '|') stages_.push_back({.first_layer = next_layer});
      if (letter == 'E') stage.embedding = true;
      if (letter == 'L') stage.head = true;
      if (letter == 't') ++stage.num_layers, ++next_layer;
      if (letter == 'm') ++stage.num_mtp, ++num_mtp;
    }
    return stages_.back().head || refuse(text_.size(), "expected L last");
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::vector<Symbol> symbols_;
  std::vector<StageLayout> stages_;
  LayoutTextProblem problem_;
};

/// "t", "tt", "t*3".
std::string run_of(char letter, std::int64_t count) {
  if (count >= 3) return fmt::format("{}*{}", letter, count);
  return std::string(static_cast<std::size_t>(count), letter);
}

std::string stage_text(const StageLayout& stage) {
  return fmt::format("{}{}{}{}", stage.embedding ? "E" : "", run_of('t', stage.num_layers), run_of('m', stage.num_mtp),
                     stage.head ? "L" : "");
}

/// The shortest text for the tokens from one of them to the last.
struct Shortest {
  std::size_t length = 0;
  std::size_t period = 1, count = 1;  // of the group that it begins with; count 1: a token alone
};

}  // namespace

std::variant<std::vector<StageLayout>, LayoutTextProblem> parse_layout(std::string_view text) {
  return Parser(text).run();
}

// Dynamic programming from the last stage to the first: a text begins with one stage, or with a group of `period`
// stages `count` times, and goes on with the shortest text for the rest. Complexity: n^2 log n for n stages.
std::string layout_text(const std::vector<StageLayout>& stages) {
  std::vector<std::string> tokens;
  for (const StageLayout& stage : stages) tokens.push_back(stage_text(stage) + "|");
  if (!tokens.empty()) tokens.back().pop_back();
  const std::size_t n = tokens.size();

  std::vector<Shortest> best(n + 1);
  std::vector<std::size_t> equal(n + 1);  // [p]: tokens from here on that equal those p behind them
  for (std::size_t i = n; i-- > 0;) {
    best[i] = {.length = tokens[i].size() + best[i + 1].length};
    std::size_t inside = 0;
    for (std::size_t period = 1; i + period < n; ++period) {
      inside += tokens[i + period - 1].size();
      equal[period] = tokens[i] == tokens[i + period] ? equal[period] + 1 : 0;
      for (std::size_t count = equal[period] / period + 1; count >= 2; --count) {
        const std::size_t length =
            inside + 3 + std::to_string(count).size() + best[i + period * count].length;  // ( ) *
        if (length < best[i].length) best[i] = {.length = length, .period = period, .count = count};
      }
    }
  }

  std::string text;
  for (std::size_t i = 0; i < n; i += best[i].period * best[i].count) {
    std::string part;
    for (std::size_t j = i; j < i + best[i].period; ++j) part += tokens[j];
    text += best[i].count == 1 ? part : fmt::format("({})*{}", part, best[i].count);
  }
  return text;
}

}  // namespace orrery
