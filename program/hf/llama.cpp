// SPDX-License-Identifier: Apache-2.0
// Dense models with grouped-query attention: Llama 2 and 3; Mistral, whose first version sees a window.
#include "program/hf/attention_spans.h"
#include "program/hf/family.h"
#include "program/hf/transformer.h"

namespace orrery::hf {
namespace {

void read_llama(const JsonObject& in, Model& model) {
  read_transformer(in, model);
  GroupedQueryAttention attention = read_grouped_query_attention(in, model);
  read_attention_bias(in, attention);
  model.attention = attention;
  model.mlp_bias = in.optional("mlp_bias").boolean().value_or(false);
}

void read_mistral(const JsonObject& in, Model& model) {
  read_transformer(in, model);
  model.attention = read_grouped_query_attention(in, model);
  read_sliding_window(in, model);
}

}  // namespace

const Family& llama() {
  static const Family family{.model_type = "llama",
                             .read_keys = join(transformer_keys(), {"num_attention_heads", "num_key_value_heads",
                                                                    "head_dim", "attention_bias", "mlp_bias"}),
                             .harmless_keys = join(harmless_keys(), {}),
                             .refused_keys = {},
                             .read = read_llama};
  return family;
}

const Family& mistral() {
  static const Family family{.model_type = "mistral",
                             .read_keys = join(transformer_keys(), {"num_attention_heads", "num_key_value_heads",
                                                                    "head_dim", "sliding_window"}),
                             .harmless_keys = join(harmless_keys(), {}),
                             .refused_keys = {},
                             .read = read_mistral};
  return family;
}

}  // namespace orrery::hf
