// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/json_reader.h"
#include "program/hf/tensor_names.h"
#include "program/model.h"

#include <span>
#include <string_view>
#include <vector>

// A family of models is one `model_type` of Hugging Face. What its `config.json` may say is three lists of keys;
// `read` turns the first of them into a Model. A new family is one file in this folder and one line in
// program/hf_config.cpp.

namespace orrery::hf {

/// A key that changes shapes in a way that Orrery does not model. null and false are accepted: they switch it off.
struct RefusedKey {
  std::string_view key;
  std::string_view what;  // "biases of the attention projections"
};

struct Family {
  std::string_view model_type;
  std::vector<std::string_view> read_keys;
  std::vector<std::string_view> harmless_keys;
  std::vector<RefusedKey> refused_keys;
  void (*read)(const JsonObject& in, Model& model);
  /// Files of models that also see or hear keep the language model in an object of its own, read as this family.
  std::string_view nested_key = {};
  const Family& (*nested)() = nullptr;
  /// Of its checkpoints; null: they cannot be read or written.
  const TensorNames* tensors = &kCommonNames;
  std::vector<Departure> departures = {};
};

/// Null if there is none of this name.
const Family* family_of(std::string_view model_type);

const Family& deepseek_v2();
const Family& deepseek_v3();
const Family& glm4_moe();
const Family& gpt_oss();
const Family& kimi_k2();
const Family& llama();
const Family& llama4();
const Family& llama4_text();
const Family& mistral();
const Family& mixtral();
const Family& olmoe();
const Family& qwen2();
const Family& qwen2_moe();
const Family& qwen3();
const Family& qwen3_moe();

/// `common` followed by `own`.
std::vector<std::string_view> join(std::span<const std::string_view> common,
                                   std::initializer_list<std::string_view> own);

}  // namespace orrery::hf
