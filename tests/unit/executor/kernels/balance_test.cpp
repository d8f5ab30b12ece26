// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/balance.h"

#include "base/errors.h"
#include "tests/unit/executor/kernels/values.h"

#include <cmath>

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

constexpr std::int64_t kSequence = 4;
constexpr std::int64_t kTokens = 3 * kSequence;
constexpr std::int64_t kExperts = 5;

/// The definition: per sequence, num_experts * sum of f_i P_i.
double reference(const RouterShape& shape, const Doubles& scores, const std::vector<std::int32_t>& chosen) {
  double loss = 0.0;
  for (std::size_t begin = 0; begin < kTokens; begin += kSequence) {
    Doubles share(kExperts), mean(kExperts);
    for (std::size_t token = begin; token < begin + kSequence; ++token) {
      for (std::size_t j = 0; j < 2; ++j)
        share[static_cast<std::size_t>(chosen[token * 2 + j])] += 1.0 / (kSequence * 2);
      double sum = 1.0;
      if (shape.score == RouterScore::sigmoid) {
        sum = 0.0;
        for (std::size_t i = 0; i < kExperts; ++i) sum += scores[token * kExperts + i];
      }
      for (std::size_t i = 0; i < kExperts; ++i) mean[i] += scores[token * kExperts + i] / sum / kSequence;
    }
    loss += kExperts * dot(share, mean);
  }
  return loss;
}

class AuxiliaryLoss : public testing::TestWithParam<RouterScore> {
 protected:
  AuxiliaryLoss() {
    std::vector<float> probability(chosen_.size());
    router_choose(shape_, scores_, {}, chosen_, probability);
  }
  static Values positive_scores() {
    Doubles scores = Values::random(kTokens, kExperts, "scores").doubles();
    for (double& score : scores) score = 1.0 / (1.0 + std::exp(-score));
    return Values::of(scores, kTokens);
  }

  const RouterShape shape_{.num_experts = kExperts, .top_k = 2, .score = GetParam()};
  const Values scores_ = positive_scores();
  std::vector<std::int32_t> chosen_ = std::vector<std::int32_t>(kTokens * 2);
};
INSTANTIATE_TEST_SUITE_P(Scores, AuxiliaryLoss, testing::Values(RouterScore::softmax, RouterScore::sigmoid),
                         [](const auto& test) { return test.param == RouterScore::softmax ? "softmax" : "sigmoid"; });

TEST_P(AuxiliaryLoss, SumsTheLossesOfTheSequences) {
  EXPECT_NEAR(auxiliary_loss(shape_, scores_, count_by_sequence(shape_, chosen_, kSequence), 0.25),
              0.25 * reference(shape_, scores_.doubles(), chosen_), 1e-6);
}

TEST_P(AuxiliaryLoss, BackwardAddsTheGradientOfTheScores) {
  std::vector<float> dscores(kTokens * kExperts, 1.0F);
  auxiliary_loss_backward(shape_, scores_, count_by_sequence(shape_, chosen_, kSequence), 0.25, dscores);
  Doubles want =
      numeric_gradient([&](const Doubles& v) { return 0.25 * reference(shape_, v, chosen_); }, scores_.doubles());
  for (double& value : want) value += 1.0;
  EXPECT_LT(difference({dscores.begin(), dscores.end()}, want), 1e-6);
}

TEST(AuxiliaryLossOfBalance, IsTheNumberOfSequencesWhenAllExpertsAreEqual) {
  const RouterShape shape{.num_experts = 2, .top_k = 1};
  const Values scores = Values::of({0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5}, 4);
  EXPECT_DOUBLE_EQ(
      auxiliary_loss(shape, scores, count_by_sequence(shape, std::vector<std::int32_t>{0, 1, 1, 0}, 2), 1.0), 2.0);
}

TEST(AuxiliaryLossOfBalance, RefusesPartsOfSequences) {
  EXPECT_THROW(count_by_sequence({.num_experts = 2, .top_k = 1}, std::vector<std::int32_t>(3), 2), InternalError);
}

TEST(AuxiliaryLossInParts, ThatOfTheRanksOfASequenceIsThatOfTheSequence) {
  const RouterShape shape{.num_experts = 4, .top_k = 2};
  const Values scores = Values::random(6, 4, "scores");
  const std::vector<std::int32_t> chosen = {0, 1, 2, 3, 0, 2, 0, 3, 1, 0, 2, 0};
  const SequenceCounts whole = count_by_sequence(shape, chosen, 6);
  double sum = 0.0;
  std::vector<float> all(24), parts(24);
  auxiliary_loss_backward(shape, scores, whole, 1.0, all);
  for (std::int64_t half = 0; half < 2; ++half) {
    const SequenceCounts mine{.rows = 3, .tokens = 6, .counts = whole.counts};
    const ConstMatrix rows = scores.view().row_block(3 * half, 3);
    sum += auxiliary_loss(shape, rows, mine, 1.0);
    auxiliary_loss_backward(shape, rows, mine, 1.0, std::span(parts).subspan(static_cast<std::size_t>(12 * half), 12));
  }
  EXPECT_NEAR(sum, auxiliary_loss(shape, scores, whole, 1.0), 1e-12);
  EXPECT_EQ(parts, all);
}

TEST(SelectionBias, MovesTowardsExpertsBelowTheMean) {
  std::vector<float> bias = {0.5F, 0.5F, 0.5F, 0.5F};
  update_selection_bias(std::vector<std::int64_t>{10, 0, 4, 2}, 0.25F, bias);  // the mean is 4
  EXPECT_EQ(bias, (std::vector<float>{0.25F, 0.75F, 0.5F, 0.75F}));
}

TEST(CountChosen, AddsToTheCounts) {
  std::vector<std::int64_t> counts = {1, 0, 0};
  count_chosen(std::vector<std::int32_t>{2, 0, 2}, counts);
  EXPECT_EQ(counts, (std::vector<std::int64_t>{2, 0, 2}));
}

TEST(ChooseBalanced, GivesEveryExpertTheSameAndEveryTokenDifferentOnes) {
  std::vector<std::int32_t> chosen(16 * 3);
  choose_balanced(8, 3, 5, chosen);
  std::vector<std::int64_t> counts(8);
  count_chosen(chosen, counts);
  EXPECT_EQ(counts, std::vector<std::int64_t>(8, 6));
  for (std::size_t t = 0; t < 16; ++t) {
    EXPECT_NE(chosen[3 * t], chosen[3 * t + 1]);
    EXPECT_NE(chosen[3 * t + 1], chosen[3 * t + 2]);
    EXPECT_NE(chosen[3 * t], chosen[3 * t + 2]);
  }
  std::vector<std::int32_t> other(chosen.size());
  choose_balanced(8, 3, 6, other);
  EXPECT_NE(other, chosen);
}

}  // namespace
}  // namespace orrery::executor
