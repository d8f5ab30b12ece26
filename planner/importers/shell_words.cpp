// SPDX-License-Identifier: Apache-2.0
#include "planner/importers/shell_words.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <set>
#include <utility>

namespace orrery::planner {
namespace {

using Values = std::vector<std::string>;

bool is_space(char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; }
bool is_name(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

/// Length of the name of a variable at the beginning of `text`; 0: there is none.
std::size_t name_length(std::string_view text) {
  if (text.empty() || !is_name(text[0]) || std::isdigit(static_cast<unsigned char>(text[0])) != 0) return 0;
  return static_cast<std::size_t>(std::ranges::find_if_not(text, is_name) - text.begin());
}

Values split(std::string_view text) {
  Values out(1);
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool goes_on = text[i] == '\\' && i + 1 < text.size() && is_space(text[i + 1]);
    if (!is_space(text[i]) && !goes_on) {
      out.back() += text[i];
    } else if (!out.back().empty()) {
      out.emplace_back();
    }
  }
  if (out.back().empty()) out.pop_back();
  return out;
}

class Splitter {
 public:
  explicit Splitter(std::string_view text) : text_(text) {}

  ShellText run() {
    while (at_ < text_.size() && !out_.open_quote) step();
    if (!out_.open_quote) end_word();
    return std::move(out_);
  }

 private:
  void step() {
    const char c = text_[at_];
    const bool ends_line = at_ + 1 < text_.size() && (text_[at_ + 1] == '\n' || text_[at_ + 1] == '\r');
    if (is_space(c)) {
      end_word();
      if (c == '\n') ++line_;
      ++at_;
    } else if (c == '\\' && ends_line) {
      ++at_;
    } else if (c == '#' && !in_word_) {
      at_ = std::min(text_.find('\n', at_), text_.size());
    } else if (c == '\'' || c == '"') {
      quoted(c);
    } else if (c == '$') {
      variable(false);
    } else if (c == '(' && array_.empty() && begins_array()) {
      ++at_;
    } else if (c == ')' && !array_.empty() && depth_ == 0) {
      end_word();
      end_array();
      ++at_;
    } else {
      if (!array_.empty()) depth_ += c == '(' ? 1 : c == ')' ? -1 : 0;
      add(std::string(1, c));
      ++at_;
    }
  }

  void add(std::string_view text) {
    if (!in_word_) word_.line = line_;
    in_word_ = true;
    word_.text += text;
  }

  void quoted(char quote) {
    const std::size_t end = text_.find(quote, at_ + 1);
    if (end == std::string_view::npos) {
      out_.open_quote = {.quote = quote, .line = line_};
      return;
    }
    add("");
    is_quoted_ = true;
    ++at_;
    while (at_ < end) {
      if (text_[at_] == '\n') ++line_;
      if (quote == '"' && text_[at_] == '$') {
        variable(true);
      } else {
        add(text_.substr(at_++, 1));
      }
    }
    at_ = end + 1;
  }

  /// At a "$".
  void variable(bool in_quotes) {
    const std::string_view rest = text_.substr(at_);
    std::size_t length = 1 + name_length(rest.substr(1));
    std::string_view name = rest.substr(1, length - 1), after;
    if (rest.starts_with("${")) {
      length = closed(rest, '{', '}');
      const std::string_view inside = rest.substr(2, length - 3);
      name = inside.substr(0, name_length(inside));
      after = inside.substr(name.size());
    } else if (rest.starts_with("$(")) {
      length = closed(rest, '(', ')');
    }
    const std::string_view written = rest.substr(0, length);
    at_ += length;
    line_ += static_cast<int>(std::ranges::count(written, '\n'));
    const auto known = variables_.find(std::string(name));
    if (known != variables_.end() && (after.empty() || after.starts_with(":-"))) {
      const std::string value = known->second.empty() ? "" : known->second.front();
      return in_quotes || is_assignment() ? add(value) : add_words(split(value));
    }
    if (known != variables_.end() && (after == "[@]" || after == "[*]")) return add_words(known->second);
    if (!name.empty() && !in_branches_.contains(std::string(name)) && after.starts_with(":-")) {
      std::string value(after.substr(2));
      std::erase_if(value, [](char c) { return c == '"' || c == '\''; });
      if (value.find('$') == std::string::npos) return add(value);
    }
    add(written);
  }

  /// Length of what `open` opens at [1], up to its end.
  static std::size_t closed(std::string_view text, char open, char close) {
    int depth = 0;
    for (std::size_t i = 1; i < text.size(); ++i) {
      depth += text[i] == open ? 1 : text[i] == close ? -1 : 0;
      if (depth == 0) return i + 1;
    }
    return text.size();
  }

  void add_words(const Values& values) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (i > 0) end_word();
      add(values[i]);
    }
  }

  bool is_assignment() const {
    const std::size_t name = name_length(word_.text);
    return name > 0 && array_.empty() && word_.text.substr(name).starts_with("=");
  }

  bool begins_array() {
    const std::size_t name = name_length(word_.text);
    const std::string_view sign = std::string_view(word_.text).substr(name);
    if (name == 0 || (sign != "=" && sign != "+=")) return false;
    array_ = word_.text.substr(0, name);
    if (sign == "=") variables_[array_].clear();
    clear_word();
    return true;
  }

  void end_array() {
    if (num_branches_ > 0) forget(array_);
    array_.clear();
  }

  /// Which branch is taken is not known.
  void forget(const std::string& name) {
    variables_.erase(name);
    in_branches_.insert(name);
  }

  void clear_word() {
    word_ = {};
    in_word_ = is_quoted_ = false;
  }

  void end_word() {
    if (!in_word_) return;
    if (!array_.empty()) {
      variables_[array_].push_back(word_.text);
      out_.elements.push_back(std::move(word_));
      return clear_word();
    }
    std::string bare = word_.text;
    if (!is_quoted_ && bare.ends_with(';')) bare.pop_back();
    const std::size_t name = name_length(bare);
    if (name > 0 && bare.substr(name).starts_with("=")) {
      const std::string variable = bare.substr(0, name);
      variables_[variable] = {bare.substr(name + 1)};
      if (num_branches_ > 0) forget(variable);
    } else {
      if (bare == "if" || bare == "case" || bare == "for" || bare == "while") ++num_branches_;
      if (bare == "fi" || bare == "esac" || bare == "done") --num_branches_;
      out_.words.push_back(std::move(word_));
    }
    clear_word();
  }

  std::string_view text_;
  ShellText out_;
  std::size_t at_ = 0;
  int line_ = 1;
  ShellWord word_;
  bool in_word_ = false, is_quoted_ = false;
  std::string array_;  // whose elements are read; empty: none
  int depth_ = 0;      // of parentheses in them
  int num_branches_ = 0;
  std::map<std::string, Values> variables_;
  std::set<std::string> in_branches_;
};

}  // namespace

ShellText shell_words(std::string_view text) { return Splitter(text).run(); }

}  // namespace orrery::planner
