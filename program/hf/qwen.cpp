// SPDX-License-Identifier: Apache-2.0
// The dense Qwen2 (and 2.5) and Qwen3: the former has biases on queries, keys and values, the latter norms on queries
// and keys.
#include "program/hf/attention_spans.h"
#include "program/hf/family.h"
#include "program/hf/transformer.h"

namespace orrery::hf {
namespace {

void read_qwen2(const JsonObject& in, Model& model) {
  read_transformer(in, model);
  GroupedQueryAttention attention = read_grouped_query_attention(in, model);
  attention.qkv_bias = true;
  model.attention = attention;
  read_optional_sliding_window(in, model);
}

void read_qwen3(const JsonObject& in, Model& model) {
  read_transformer(in, model);
  GroupedQueryAttention attention = read_grouped_query_attention(in, model);
  read_attention_bias(in, attention);
  attention.qk_norm = true;
  model.attention = attention;
  read_optional_sliding_window(in, model);
}

std::vector<std::string_view> read_keys(std::initializer_list<std::string_view> own) {
  const std::vector<std::string_view> common =
      join(transformer_keys(), {"num_attention_heads", "num_key_value_heads", "head_dim", "use_sliding_window",
                                "sliding_window", "max_window_layers", "layer_types"});
  return join(common, own);
}

}  // namespace

const Family& qwen2() {
  static const Family family{.model_type = "qwen2",
                             .read_keys = read_keys({}),
                             .harmless_keys = join(harmless_keys(), {}),
                             .refused_keys = {},
                             .read = read_qwen2};
  return family;
}

const Family& qwen3() {
  static const Family family{.model_type = "qwen3",
                             .read_keys = read_keys({"attention_bias"}),
                             .harmless_keys = join(harmless_keys(), {}),
                             .refused_keys = {},
                             .read = read_qwen3};
  return family;
}

}  // namespace orrery::hf
