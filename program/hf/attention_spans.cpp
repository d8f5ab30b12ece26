// SPDX-License-Identifier: Apache-2.0
#include "program/hf/attention_spans.h"

#include "program/hf/transformer.h"

#include <vector>

#include <fmt/format.h>

namespace orrery::hf {

void read_sliding_window(const JsonObject& in, Model& model) {
  const std::int64_t window = in.nullable("sliding_window").integer(kWindow).value_or(0);
  set_spans(model, [&](std::int64_t) { return AttentionSpan{.window = window}; });
}

bool read_layer_types(const JsonObject& in, std::int64_t window, Model& model) {
  const OptionalJsonValue key = in.nullable("layer_types");
  if (!key.present()) return false;
  constexpr Named<AttentionSpan> kTypes[] = {
      {"full_attention", {}},
      {"sliding_attention", {.window = 1}},
      {"chunked_attention", {.window = 1, .chunked = true}},
  };
  std::vector<AttentionSpan> spans;
  for (const JsonValue& type : key.value().array()) {
    spans.push_back(type.one_of<AttentionSpan>(kTypes));
    spans.back().window *= window;
    spans.back().chunked = spans.back().chunked && window > 0;
  }
  if (static_cast<std::int64_t>(spans.size()) != model.num_layers()) {
    key.value().problem(
        fmt::format("expected {} entries (num_hidden_layers), got {}", model.num_layers(), spans.size()));
    return true;
  }
  set_spans(model, [&](std::int64_t layer) { return spans[static_cast<std::size_t>(layer)]; });
  return true;
}

void read_optional_sliding_window(const JsonObject& in, Model& model) {
  const bool use_window = in.optional("use_sliding_window").boolean().value_or(false);
  // Transformers 5 writes 0 where it is off.
  const IntegerRange range{.min = use_window ? kWindow.min : 0, .max = kWindow.max};
  const std::int64_t window = in.nullable("sliding_window").integer(range).value_or(0);
  const std::int64_t first = in.nullable("max_window_layers").integer({.min = 0}).value_or(0);
  if (!use_window) {
    in.ignore("layer_types");
    return;
  }
  if (window == 0) in.problem("expected the key \"sliding_window\", since use_sliding_window is true");
  if (read_layer_types(in, window, model)) return;
  set_spans(model, [&](std::int64_t layer) { return AttentionSpan{.window = layer >= first ? window : 0}; });
}

}  // namespace orrery::hf
