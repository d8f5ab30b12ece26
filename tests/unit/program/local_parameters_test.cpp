// SPDX-License-Identifier: Apache-2.0
#include "program/local_parameters.h"

#include "tests/unit/program/small_models.h"

#include <map>
#include <set>

#include <gtest/gtest.h>

namespace orrery {
namespace {

using testing::small_moe;
using testing::small_strategy;

Parameter matrix(WeightRole role, std::int64_t rows, std::int64_t cols) {
  return {.role = role, .layer = 0, .rows = rows, .cols = cols, .split = split_of(role)};
}

TEST(LocalParameters, GateAndUpAreDividedAlike) {
  const Model model = small_moe();
  EXPECT_EQ(boxes_on_rank(matrix(WeightRole::mlp_fc1, 96, 32), model, 2, 1),
            (std::vector<Box>{{24, 24, 0, 32}, {72, 24, 0, 32}}));
  EXPECT_EQ(boxes_on_rank(matrix(WeightRole::mlp_fc2, 32, 48), model, 2, 1), (std::vector<Box>{{0, 32, 24, 24}}));
  EXPECT_EQ(boxes_on_rank(matrix(WeightRole::head, 64, 32), model, 4, 3), (std::vector<Box>{{48, 16, 0, 32}}));
  EXPECT_EQ(boxes_on_rank(matrix(WeightRole::attn_norm, 1, 32), model, 4, 3), (std::vector<Box>{{0, 1, 0, 32}}));
  EXPECT_EQ(boxes_on_rank(matrix(WeightRole::mlp_fc1_bias, 1, 96), model, 2, 0),
            (std::vector<Box>{{0, 1, 0, 24}, {0, 1, 48, 24}}));
}

TEST(LocalParameters, HeadsAreDividedAndAKeyValueHeadHasACopyWhereThereAreTooFew) {
  const Model model = small_moe();  // 4 query heads and 2 key-value heads of 16
  const Parameter qkv = matrix(WeightRole::qkv, 128, 32);
  EXPECT_EQ(boxes_on_rank(qkv, model, 2, 1), (std::vector<Box>{{32, 32, 0, 32}, {80, 16, 0, 32}, {112, 16, 0, 32}}));
  EXPECT_EQ(boxes_on_rank(qkv, model, 4, 3), (std::vector<Box>{{48, 16, 0, 32}, {80, 16, 0, 32}, {112, 16, 0, 32}}));
}

TEST(LocalParameters, RanksTogetherHoldEveryElementOfTheModel) {
  Strategy s = small_strategy(small_moe(), 2, 2);
  s.tp = s.etp = 2;
  s.sp = true;
  const Model model = small_moe();
  const Mesh mesh(s, 8);
  std::map<std::string, std::set<std::pair<std::int64_t, std::int64_t>>> elements;
  std::map<std::string, std::int64_t> sizes;
  for (std::int32_t rank = 0; rank < 8; ++rank) {
    for (const LocalParameter& p : local_parameters(model, s, mesh, RankId(rank))) {
      sizes[name_of(p.whole)] = p.whole.size();
      for (const Box& box : p.boxes) {
        for (std::int64_t row = box.row; row < box.row + box.rows; ++row) {
          for (std::int64_t col = box.col; col < box.col + box.cols; ++col)
            elements[name_of(p.whole)].emplace(row, col);
        }
      }
    }
  }
  for (const auto& [name, size] : sizes) EXPECT_EQ(static_cast<std::int64_t>(elements[name].size()), size) << name;
  EXPECT_EQ(sizes.size(), rank_parameters(model, s.stages, 1, 0).size());
}

// Two ranks of DualPipe hold the same stages and run them in opposite orders; what they sum must lie in the same place.
TEST(LocalParameters, TheOrderOfTheFlatBufferIsThatOfTheModel) {
  Strategy s = small_strategy(small_moe(), 2);
  s.schedule = Schedule::dualpipe;
  const Mesh mesh(s, 2);
  const std::vector<LocalParameter> first = local_parameters(small_moe(), s, mesh, RankId(0));
  const std::vector<LocalParameter> second = local_parameters(small_moe(), s, mesh, RankId(1));
  ASSERT_EQ(first.size(), second.size());
  for (std::size_t i = 0; i < first.size(); ++i) {
    EXPECT_EQ(first[i].whole, second[i].whole);
    EXPECT_EQ(first[i].first, second[i].first);
  }
}

}  // namespace
}  // namespace orrery
