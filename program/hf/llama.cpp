// SPDX-License-Identifier: Apache-2.0
// Llama 2 and 3: dense, grouped-query attention.
#include "program/hf/family.h"
#include "program/hf/transformer.h"

namespace orrery::hf {
namespace {

void read(const JsonObject& in, Model& model) {
  read_transformer(in, model);
  model.attention = read_grouped_query_attention(in, model);
}

}  // namespace

const Family& llama() {
  static const Family family{
      .model_type = "llama",
      .read_keys = join(transformer_keys(), {"num_attention_heads", "num_key_value_heads", "head_dim"}),
      .harmless_keys = join(harmless_keys(), {}),
      .refused_keys = {{"attention_bias", "a bias of the attention projections"},
                       {"mlp_bias", "a bias of the feed-forward projections"}},
      .read = read};
  return family;
}

}  // namespace orrery::hf
