// SPDX-License-Identifier: Apache-2.0
// The folders of tests/data/hugging_face: one small checkpoint of each family, as Hugging Face Transformers wrote it.
#pragma once

#include "executor/checkpoint/hf_weights.h"
#include "executor/runtime/rank_state.h"
#include "executor/runtime/saved_state.h"
#include "program/hf_config.h"
#include "tests/unit/program/reading.h"

#include <filesystem>
#include <span>
#include <string>

namespace orrery::executor::testing {

inline const std::string kHfFamilies[] = {"llama",    "mixtral", "qwen2_moe", "qwen3_moe", "deepseek_v2", "deepseek_v3",
                                          "glm4_moe", "gpt_oss", "mistral",   "qwen2",     "qwen3",       "olmoe"};

inline std::filesystem::path hf_folder(const std::string& family) {
  return orrery::testing::repository_path("tests/data/hugging_face/" + family);
}

inline Model hf_model(const std::string& family) { return read_model(hf_folder(family) / "config.json"); }

/// Gives a rank its part of the weights.
inline void load_from(const HfWeights& weights, RankState& rank) {
  load_weights(
      rank.program, rank.view.rank,
      [&](const Parameter& weight, const Box& box, std::span<float> out) { weights.read(weight, box, out); },
      rank.weights);
}

}  // namespace orrery::executor::testing
