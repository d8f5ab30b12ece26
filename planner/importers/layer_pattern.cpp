// SPDX-License-Identifier: Apache-2.0
#include "planner/importers/layer_pattern.h"

#include <cctype>
#include <charconv>
#include <optional>
#include <utility>

#include <fmt/format.h>

namespace orrery::planner {
namespace {

constexpr std::size_t kMostLayers = 1 << 16;  // of what an expression may make on its way
constexpr int kMostBrackets = 64;             // in each other

using Layers = std::vector<LayerKind>;

/// sum: product ("+" product)*; product: part ("*" count)*; part: "(" sum ")" or "[" 0 or 1 ("," 0 or 1)* "]".
class Expression {
 public:
  explicit Expression(std::string_view text) : text_(text) {}

  /// Nothing: it is no such expression, or a very long one.
  std::optional<Layers> read() {
    std::optional<Layers> layers = sum();
    skip_blanks();
    return at_ == text_.size() ? std::move(layers) : std::nullopt;
  }

 private:
  std::optional<Layers> sum() {
    std::optional<Layers> layers = product();
    while (layers && next_is('+')) {
      const std::optional<Layers> more = product();
      if (!more || layers->size() + more->size() > kMostLayers) return std::nullopt;
      layers->insert(layers->end(), more->begin(), more->end());
    }
    return layers;
  }

  std::optional<Layers> product() {
    std::optional<Layers> once = part();
    while (once && next_is('*')) {
      const std::optional<std::size_t> count = number();
      if (!count || *count > kMostLayers || once->size() * *count > kMostLayers) return std::nullopt;
      Layers layers;
      for (std::size_t i = 0; i < *count; ++i) layers.insert(layers.end(), once->begin(), once->end());
      once = std::move(layers);
    }
    return once;
  }

  std::optional<Layers> part() {
    if (next_is('(')) {
      if (++num_open_ > kMostBrackets) return std::nullopt;
      std::optional<Layers> inside = sum();
      --num_open_;
      return next_is(')') ? std::move(inside) : std::nullopt;
    }
    if (!next_is('[')) return std::nullopt;
    Layers layers;
    do {
      const std::optional<std::size_t> kind = number();
      if (!kind || *kind > 1) return std::nullopt;
      layers.push_back(*kind == 1 ? LayerKind::moe : LayerKind::dense);
    } while (next_is(','));
    return next_is(']') ? std::optional(std::move(layers)) : std::nullopt;
  }

  std::optional<std::size_t> number() {
    skip_blanks();
    std::size_t value = 0;
    const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
    if (error != std::errc()) return std::nullopt;
    at_ = static_cast<std::size_t>(end - text_.data());
    return value;
  }

  bool next_is(char c) {
    skip_blanks();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  void skip_blanks() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_])) != 0) ++at_;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  int num_open_ = 0;
};

}  // namespace

std::variant<std::vector<LayerKind>, std::string> read_layer_pattern(std::string_view text, std::int64_t num_layers) {
  std::int64_t every = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), every);
  if (error == std::errc() && end == text.data() + text.size() && every >= 1) {
    Layers layers;
    for (std::int64_t i = 0; i < num_layers; ++i) layers.push_back(i % every == 0 ? LayerKind::moe : LayerKind::dense);
    return layers;
  }
  std::optional<Layers> layers = Expression(text).read();
  if (!layers) {
    return fmt::format("expected a number from 1 or lists of 0 and 1 such as \"([0]*3+[1]*58)\", got \"{}\"", text);
  }
  if (std::ssize(*layers) != num_layers) return fmt::format("expected {} layers, got {}", num_layers, layers->size());
  return *std::move(layers);
}

}  // namespace orrery::planner
