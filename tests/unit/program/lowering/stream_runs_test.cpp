// SPDX-License-Identifier: Apache-2.0
#include "program/lowering/stream_runs.h"

#include <gtest/gtest.h>

namespace orrery::lowering {
namespace {

StreamItem at(std::int64_t layer, std::int64_t key_layer, bool inserted = false) {
  return {
      .rule = nullptr, .at = {.layer = layer, .key_layer = static_cast<std::int16_t>(key_layer)}, .inserted = inserted};
}

TEST(StreamRuns, ItemsOfOneLayerAreOneRun) {
  const auto runs = runs_of({at(0, 0), at(0, 0), at(1, 1)}, 2);
  ASSERT_EQ(runs.size(), 2u);
  EXPECT_EQ(runs[0].begin, 0u);
  EXPECT_EQ(runs[0].end, 2u);
  EXPECT_EQ(runs[1].begin, 2u);
  EXPECT_EQ(runs[1].end, 3u);
  EXPECT_TRUE(runs[1].is_layer());
}

TEST(StreamRuns, EndsOfTheModelAreRunsButNoLayers) {
  // The embedding makes the input of layer 0, the head reads the output behind the last layer.
  const auto runs = runs_of({at(0, OpKey::kEmbed), at(0, 0), at(1, OpKey::kHead)}, 1);
  ASSERT_EQ(runs.size(), 3u);
  EXPECT_FALSE(runs[0].is_layer());
  EXPECT_TRUE(runs[1].is_layer());
  EXPECT_FALSE(runs[2].is_layer());
}

TEST(StreamRuns, WhatAPassHasInsertedDoesNotCount) {
  const auto runs = runs_of({at(1, 1, true), at(0, 0), at(1, 1, true), at(0, 0), at(1, 1)}, 2);
  ASSERT_EQ(runs.size(), 2u);
  EXPECT_EQ(runs[0].begin, 1u);
  EXPECT_EQ(runs[0].end, 4u);
  EXPECT_EQ(runs[1].begin, 4u);
}

TEST(StreamRuns, TheHeadOfAPredictionModuleIsNotItsLayer) {
  const std::int64_t num_layers = 4, input = mtp_position(num_layers, 0);
  const auto runs = runs_of({at(input, 4), at(input + 1, 4)}, num_layers);
  ASSERT_EQ(runs.size(), 2u);
  EXPECT_TRUE(runs[0].is_layer());
  EXPECT_TRUE(runs[1].is_mtp_head);
  EXPECT_FALSE(runs[1].is_layer());
}

TEST(StreamRuns, NothingHasNoRuns) { EXPECT_TRUE(runs_of({}, 4).empty()); }

}  // namespace
}  // namespace orrery::lowering
