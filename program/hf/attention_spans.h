// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/json_reader.h"
#include "program/model.h"

// How the families spell which layers see only a part of the sequence. Requires: read_transformer was called, so that
// the number of layers is known. A model whose layers all see everything keeps its spans empty.

namespace orrery::hf {

/// Mistral, Mixtral: "sliding_window" holds for every layer; null or absent: none does.
void read_sliding_window(const JsonObject& in, Model& model);

/// Qwen: if "use_sliding_window", layers from "max_window_layers" on see "sliding_window" tokens; "layer_types" says
/// the same layer by layer and wins where it is given.
void read_optional_sliding_window(const JsonObject& in, Model& model);

/// "layer_types": one of "full_attention", "sliding_attention" (windows of `window`) and "chunked_attention" (chunks of
/// `window`) for each layer. Returns whether the key is there.
bool read_layer_types(const JsonObject& in, std::int64_t window, Model& model);

/// Gives each layer a span, or none to the model if all are full.
template <class SpanOfLayer>
void set_spans(Model& model, SpanOfLayer&& span_of_layer) {
  bool all_full = true;
  model.spans.clear();
  for (std::int64_t layer = 0; layer < model.num_layers(); ++layer) {
    model.spans.push_back(span_of_layer(layer));
    all_full = all_full && model.spans.back().is_full();
  }
  if (all_full) model.spans.clear();
}

}  // namespace orrery::hf
