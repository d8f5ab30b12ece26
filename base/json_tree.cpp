// SPDX-License-Identifier: Apache-2.0
#include "base/json_tree.h"

#include "base/check.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <iterator>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace orrery::detail {
namespace {

constexpr std::size_t kDeepestNesting = 200;

/// What no JSON number can be and yet is written, by Python among others.
constexpr std::string_view kNotFinite[] = {"-Infinity", "Infinity", "NaN"};
constexpr std::string_view kOfNumbers = "+-.0123456789eE";
constexpr char kMark = '\0';  // begins the string that stands for one of them while the text is parsed

/// What a text means if it is one of these or a number beyond all doubles, such as 1e999; else nothing.
std::optional<double> not_finite(const std::string& text) {
  char* end = nullptr;
  const double number = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0' || std::isfinite(number)) return std::nullopt;
  return number;
}

/// What begins a text outside of strings and is kept or marked as a whole: one of these, or a number.
std::string_view token_of(std::string_view text) {
  for (const std::string_view name : kNotFinite) {
    if (text.starts_with(name)) return name;
  }
  return text.substr(0, std::min(text.find_first_not_of(kOfNumbers), text.size()));
}

/// The text with each of these and each number beyond all doubles as a marked string, which the parser knows. Lines
/// stay.
std::string with_marks(std::string_view text) {
  std::string out;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string && c == '\\') {
      out += c;
      if (++i < text.size()) out += text[i];
      continue;
    }
    if (c == '"') in_string = !in_string;
    const std::string_view token = in_string ? std::string_view() : token_of(text.substr(i));
    if (token.empty()) {
      out += c;
      continue;
    }
    if (not_finite(std::string(token))) {
      out += fmt::format("\"\\u0000{}\"", token);
    } else {
      out += token;
    }
    i += token.size() - 1;
  }
  return out;
}

/// Walks over the text and tells how far the parser has read, which its events do not say.
class TrackedIterator {
 public:
  using iterator_category = std::forward_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  TrackedIterator(const char* at, const char** progress) : at_(at), progress_(progress) {}
  reference operator*() const { return *at_; }
  TrackedIterator& operator++() {
    *progress_ = ++at_;
    return *this;
  }
  TrackedIterator operator++(int) {
    const TrackedIterator before = *this;
    ++*this;
    return before;
  }
  friend bool operator==(TrackedIterator a, TrackedIterator b) { return a.at_ == b.at_; }

 private:
  const char* at_;
  const char** progress_;
};

/// What the parser complains about, without the name of its exception and the place, which we tell ourselves.
std::string complaint_of(std::string_view what) {
  if (const std::size_t end = what.find("] "); what.starts_with('[') && end != what.npos) what.remove_prefix(end + 2);
  if (const std::size_t end = what.find("syntax error while parsing"); end != what.npos) {
    if (const std::size_t dash = what.find(" - ", end); dash != what.npos) what.remove_prefix(dash + 3);
  }
  const bool printable = std::all_of(what.begin(), what.end(), [](char c) { return c >= ' ' && c <= '~'; });
  if (!printable) what = what.substr(0, what.find("; last read"));
  std::string text(what);
  if (text.find("expected") == text.npos) {
    text += "; expected a key or a value: text in double quotes (UTF-8), a finite number, true, false, null, [ or {";
  }
  return text;
}

constexpr int kLargeNumber = 406;  // "out_of_range.406" of the parser

/// Receives the events of the parser and builds the tree.
class TreeBuilder : public nlohmann::json_sax<nlohmann::json> {
 public:
  TreeBuilder(std::string_view text, int first_line, JsonTree& tree)
      : read_until_(text.data()), counted_until_(text.data()), line_(first_line), tree_(tree) {}

  const char** progress() { return &read_until_; }

  /// Whether parsing ended at a number beyond all doubles.
  bool met_large_number() const { return met_large_number_; }

  bool null() override {
    add(JsonKind::null);
    return true;
  }
  bool boolean(bool value) override {
    add(JsonKind::boolean).boolean = value;
    return true;
  }
  bool number_integer(number_integer_t value) override {
    JsonNode& node = add(JsonKind::integer);
    node.integer = value;
    node.number = static_cast<double>(value);
    node.text = std::to_string(value);
    return true;
  }
  bool number_unsigned(number_unsigned_t value) override {
    if (std::in_range<number_integer_t>(value)) return number_integer(static_cast<number_integer_t>(value));
    return number_float(static_cast<double>(value), std::to_string(value));
  }
  bool number_float(number_float_t value, const string_t& text) override {
    JsonNode& node = add(JsonKind::number);
    node.number = value;
    node.text = text;
    return true;
  }
  bool string(string_t& value) override {
    if (!value.empty() && value[0] == kMark) {
      const std::string name = value.substr(1);
      if (const std::optional<double> number = not_finite(name)) {
        JsonNode& node = add(JsonKind::number);
        node.number = *number;
        node.text = name;
        tree_.problems.add({.file = tree_.name,
                            .line = node.line,
                            .pointer = tree_.pointer_of(static_cast<std::int32_t>(tree_.nodes.size()) - 1),
                            .message = fmt::format("expected a finite number, got {}", name)});
        return true;
      }
    }
    add(JsonKind::string).text = std::move(value);
    return true;
  }
  bool binary(binary_t&) override { return false; }
  bool key(string_t& value) override {
    key_ = std::move(value);
    key_line_ = current_line();
    return true;
  }
  bool start_object(std::size_t) override { return open(JsonKind::object); }
  bool start_array(std::size_t) override { return open(JsonKind::array); }
  bool end_array() override {
    open_.pop_back();
    return true;
  }
  bool end_object() override {
    report_duplicates();
    open_.pop_back();
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const nlohmann::json::exception& error) override {
    met_large_number_ = error.id == kLargeNumber;
    fail("invalid JSON: " + complaint_of(error.what()));
    return false;
  }

 private:
  /// The line of the last character read. A newline read ahead, at the end of a number, is not counted yet.
  int current_line() {
    if (read_until_ > counted_until_) {
      line_ += static_cast<int>(std::count(counted_until_, read_until_ - 1, '\n'));
      counted_until_ = read_until_ - 1;
    }
    return line_;
  }

  JsonNode& add(JsonKind kind) {
    const auto id = static_cast<std::int32_t>(tree_.nodes.size());
    JsonNode& node = tree_.nodes.emplace_back();
    node.kind = kind;
    node.line = current_line();
    if (open_.empty()) return node;
    JsonNode& parent = tree_.node(open_.back());
    node.parent = open_.back();
    node.position = static_cast<std::int32_t>(parent.children.size());
    parent.children.push_back(id);
    if (parent.kind == JsonKind::object) {
      node.key = std::move(key_);
      node.key_line = key_line_;
    }
    return node;
  }

  bool open(JsonKind kind) {
    if (open_.size() == kDeepestNesting) {
      fail(fmt::format("expected at most {} levels of nesting, got more", kDeepestNesting));
      return false;
    }
    add(kind);
    open_.push_back(static_cast<std::int32_t>(tree_.nodes.size()) - 1);
    return true;
  }

  void report_duplicates() {
    std::vector<std::int32_t> members = tree_.node(open_.back()).children;
    std::stable_sort(members.begin(), members.end(),
                     [&](std::int32_t a, std::int32_t b) { return tree_.node(a).key < tree_.node(b).key; });
    for (std::size_t i = 1; i < members.size(); ++i) {
      const JsonNode& first = tree_.node(members[i - 1]);
      JsonNode& second = tree_.node(members[i]);
      if (first.key != second.key) continue;
      second.used = true;  // one complaint is enough
      tree_.problems.add({.file = tree_.name,
                          .line = second.key_line,
                          .pointer = tree_.pointer_of(members[i]),
                          .message = fmt::format("duplicate key; it is already in line {}", first.key_line)});
    }
  }

  void fail(std::string message) {
    tree_.problems.add({.file = tree_.name, .line = current_line(), .message = std::move(message)});
  }

  const char* read_until_;
  const char* counted_until_;
  int line_;
  JsonTree& tree_;
  std::vector<std::int32_t> open_;
  std::string key_;
  int key_line_ = 0;
  bool met_large_number_ = false;
};

}  // namespace

std::string JsonTree::pointer_of(std::int32_t id) const {
  const JsonNode& self = node(id);
  if (self.parent < 0) return "";
  const std::string parent = pointer_of(self.parent);
  if (node(self.parent).kind == JsonKind::array) return fmt::format("{}/{}", parent, self.position);
  return parent + "/" + escaped_pointer_part(self.key);
}

std::string escaped_pointer_part(std::string_view key) {
  std::string text;
  for (const char c : key) text += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
  return text;
}

std::unique_ptr<JsonTree> parse_json(std::string_view text, std::string name, int first_line) {
  std::string marked;
  if (text.find("NaN") != text.npos || text.find("Infinity") != text.npos) text = marked = with_marks(text);
  while (true) {
    auto tree = std::make_unique<JsonTree>();
    tree->name = std::move(name);
    TreeBuilder builder(text, first_line, *tree);
    const TrackedIterator first(text.data(), builder.progress());
    const TrackedIterator last(text.data() + text.size(), builder.progress());
    if (nlohmann::json::sax_parse(first, last, &builder)) return tree;
    if (!builder.met_large_number() || !marked.empty()) {
      tree->problems.throw_if_any();
      CHECK(false, tree->name);
    }
    text = marked = with_marks(text);  // seldom; then the number is a problem of its place alone
    name = std::move(tree->name);
  }
}

}  // namespace orrery::detail
