// SPDX-License-Identifier: Apache-2.0
#include "program/model_differences.h"

#include "program/hf_config.h"
#include "tests/unit/program/reading.h"

#include <gtest/gtest.h>

namespace orrery {
namespace {

Model published(const std::string& name) {
  return read_model(testing::repository_path("catalog/models/" + name + ".json"));
}

TEST(ModelDifferences, NamesAndLossesDoNotCount) {
  Model renamed = published("deepseek-v3");
  renamed.name = "other";
  renamed.num_mtp_modules = 0;
  renamed.moe->aux_loss_coefficient = 0.5;
  EXPECT_EQ(differences(published("deepseek-v3"), renamed), std::vector<std::string>());
}

TEST(ModelDifferences, WhatWeightsMeanCounts) {
  Model changed = published("mixtral-8x7b");
  changed.spans.assign(changed.layers.size(), {.window = 4096});
  changed.layers.resize(2);
  changed.spans.resize(2);
  changed.moe->normalize_top_k = false;
  Model want = published("mixtral-8x7b");
  want.layers.resize(2);
  EXPECT_EQ(differences(want, changed),
            (std::vector<std::string>{"layers: expected moe moe of the plan's model, got moe/window4096 moe/window4096",
                                      "normalize_top_k: expected true of the plan's model, got false"}));
}

TEST(ModelDifferences, AnotherKindOfAttentionIsNamedWithItsSizes) {
  Model grouped = published("deepseek-v3");
  grouped.attention = GroupedQueryAttention{.num_heads = 128, .num_kv_heads = 128, .head_dim = 64};
  const std::vector<std::string> found = differences(published("deepseek-v3"), grouped);
  EXPECT_EQ(found.front(), "attention: expected latent of the plan's model, got grouped-query");
  EXPECT_EQ(found.back(), "sinks: expected none of the plan's model, got false");
}

}  // namespace
}  // namespace orrery
