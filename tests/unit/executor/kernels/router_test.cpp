// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/router.h"

#include "base/errors.h"
#include "tests/unit/executor/kernels/values.h"

#include <cmath>
#include <numeric>

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

constexpr std::int64_t kTokens = 6;
constexpr std::int64_t kHidden = 10;
constexpr std::int64_t kExperts = 7;

Doubles reference_scores(const RouterShape& shape, const Doubles& logits) {
  Doubles scores = logits;
  for (double& score : scores) {
    score = shape.score == RouterScore::softmax ? std::exp(score / shape.temperature)
                                                : 1.0 / (1.0 + std::exp(-score / shape.temperature));
  }
  if (shape.score == RouterScore::sigmoid) return scores;
  for (auto row = scores.begin(); row != scores.end(); row += kExperts) {
    const double sum = std::accumulate(row, row + kExperts, 0.0);
    for (auto score = row; score != row + kExperts; ++score) *score /= sum;
  }
  return scores;
}

/// Probabilities of a choice that is held fixed.
Doubles reference_probabilities(const RouterShape& shape, const Doubles& logits,
                                const std::vector<std::int32_t>& chosen) {
  const Doubles scores = reference_scores(shape, logits);
  const auto top_k = static_cast<std::size_t>(shape.top_k);
  Doubles probability;
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    probability.push_back(scores[i / top_k * kExperts + static_cast<std::size_t>(chosen[i])]);
  }
  for (auto token = probability.begin(); token != probability.end(); token += shape.top_k) {
    const double sum = shape.normalize_top_k ? std::accumulate(token, token + shape.top_k, 0.0) : 1.0;
    for (auto p = token; p != token + shape.top_k; ++p) *p *= shape.routed_scaling_factor / sum;
  }
  return probability;
}

std::vector<RouterShape> every_kind() {
  std::vector<RouterShape> kinds;
  for (const RouterScore score : {RouterScore::softmax, RouterScore::sigmoid}) {
    for (const bool normalize : {false, true}) {
      kinds.push_back({.num_experts = kExperts,
                       .top_k = 3,
                       .score = score,
                       .temperature = 1.5F,
                       .normalize_top_k = normalize,
                       .routed_scaling_factor = 2.5F});
    }
  }
  return kinds;
}

struct Choice {
  std::vector<std::int32_t> chosen;
  std::vector<float> probability;
};

Choice choose(const RouterShape& shape, const Values& scores, const std::vector<float>& bias = {}) {
  const auto size = static_cast<std::size_t>(scores.view().rows * shape.top_k);
  Choice choice{std::vector<std::int32_t>(size), std::vector<float>(size)};
  router_choose(shape, scores, bias, choice.chosen, choice.probability);
  return choice;
}

TEST(Router, ScoresAreSoftmaxOrSigmoidOfTheScaledLogits) {
  for (const RouterShape& shape : every_kind()) {
    const Values x = Values::random(kTokens, kHidden, "x", DType::bf16);
    const Values w = Values::random(kExperts, kHidden, "w");
    Values logits(kTokens, kExperts), scores(kTokens, kExperts);
    std::vector<float> wide;
    linear_forward(choose_gemm("reference"), widened(x, wide), w, logits);
    router_scores(choose_gemm(), shape, x, w, {}, 3, scores);
    EXPECT_LT(difference(scores.doubles(), reference_scores(shape, logits.doubles())), 1e-6);
  }
}

TEST(Router, ChoosesTheBestExpertsAndBreaksTiesByIndex) {
  const RouterShape shape{.num_experts = 5, .top_k = 3};
  const Choice choice = choose(shape, Values::of({0.1, 0.3, 0.2, 0.3, 0.1,  //
                                                  0.2, 0.2, 0.2, 0.2, 0.2},
                                                 2));
  EXPECT_EQ(choice.chosen, (std::vector<std::int32_t>{1, 3, 2, 0, 1, 2}));
  EXPECT_EQ(choice.probability, (std::vector<float>{0.3F, 0.3F, 0.2F, 0.2F, 0.2F, 0.2F}));
}

TEST(Router, BiasChangesTheChoiceButNotTheProbability) {
  const RouterShape shape{.num_experts = 4, .top_k = 2};
  const Choice choice = choose(shape, Values::of({0.5, 0.25, 0.125, 0.125}, 1), {-1.0F, 0.0F, 0.0F, 0.25F});
  EXPECT_EQ(choice.chosen, (std::vector<std::int32_t>{3, 1}));
  EXPECT_EQ(choice.probability, (std::vector<float>{0.125F, 0.25F}));
}

TEST(Router, NormalisedProbabilitiesSumToTheScalingFactor) {
  const RouterShape shape{.num_experts = 4, .top_k = 2, .normalize_top_k = true, .routed_scaling_factor = 2.5F};
  const Choice choice = choose(shape, Values::of({0.5, 0.25, 0.125, 0.125}, 1));
  EXPECT_FLOAT_EQ(choice.probability[0], 2.5F * 2.0F / 3.0F);
  EXPECT_FLOAT_EQ(choice.probability[1], 2.5F / 3.0F);
}

TEST(Router, BackwardIsTheGradientOfProbabilitiesAndScores) {
  const Values logits = Values::random(kTokens, kExperts, "logits");
  const Doubles dprobability = Values::random(kTokens, 3, "dprobability").doubles();
  const Doubles dscores = Values::random(kTokens, kExperts, "dscores").doubles();
  for (const RouterShape& shape : every_kind()) {
    const Values scores = Values::of(reference_scores(shape, logits.doubles()), kTokens);
    const Choice choice = choose(shape, scores);
    EXPECT_LT(difference({choice.probability.begin(), choice.probability.end()},
                         reference_probabilities(shape, logits.doubles(), choice.chosen)),
              1e-6);
    Values dlogits(kTokens, kExperts);
    const std::vector<float> dp(dprobability.begin(), dprobability.end());
    const std::vector<float> ds(dscores.begin(), dscores.end());
    router_backward(shape, scores, choice.chosen, dp, ds, dlogits);
    const auto loss = [&](const Doubles& v) {
      return dot(reference_probabilities(shape, v, choice.chosen), dprobability) +
             dot(reference_scores(shape, v), dscores);
    };
    EXPECT_LT(difference(dlogits.doubles(), numeric_gradient(loss, logits.doubles())), 2e-6);

    Values without(kTokens, kExperts);
    router_backward(shape, scores, choice.chosen, dp, {}, without);
    const auto loss_without = [&](const Doubles& v) {
      return dot(reference_probabilities(shape, v, choice.chosen), dprobability);
    };
    EXPECT_LT(difference(without.doubles(), numeric_gradient(loss_without, logits.doubles())), 2e-6);
  }
}

TEST(Router, GradientsOfInputAndWeightAreF32Products) {
  const Values x = Values::random(kTokens, kHidden, "x", DType::bf16);
  const Values w = Values::random(kExperts, kHidden, "w");
  const Values dlogits = Values::random(kTokens, kExperts, "dlogits");
  const Gemm& reference = choose_gemm("reference");
  Values want_dx(kTokens, kHidden), want_dw(kExperts, kHidden);
  linear_igrad(reference, dlogits, w, want_dx);
  std::vector<float> wide;
  linear_wgrad(reference, dlogits, widened(x, wide), want_dw);
  for (const DType dtype : {DType::f32, DType::bf16}) {
    Values dx(kTokens, kHidden, dtype);
    router_igrad(choose_gemm(), dlogits, w, 2, dx);
    EXPECT_LT(difference(dx.doubles(), want_dx.doubles()), dtype == DType::f32 ? 1e-6 : 0x1p-8);
  }
  Values dw(kExperts, kHidden);
  router_wgrad(choose_gemm(), dlogits, x, dw);
  EXPECT_LT(difference(dw.doubles(), want_dw.doubles()), 1e-6);
}

TEST(Router, RefusesMoreChoicesThanExperts) {
  EXPECT_THROW(choose({.num_experts = 2, .top_k = 3}, Values(1, 2)), InternalError);
}

TEST(Router, ATokenUsesExpertsOfItsBestGroups) {
  RouterShape shape{.num_experts = 6, .top_k = 2, .score = RouterScore::softmax, .num_groups = 3, .top_k_groups = 1};
  const Values scores = Values::of({0.3, 0.05, 0.25, 0.25, 0.1, 0.05}, 1);
  std::vector<std::int32_t> chosen(2);
  std::vector<float> probability(2);
  router_choose(shape, scores, {}, chosen, probability);
  EXPECT_EQ(chosen, (std::vector<std::int32_t>{0, 1}));  // the group of the best expert
  shape.score = RouterScore::sigmoid;
  router_choose(shape, scores, {}, chosen, probability);
  EXPECT_EQ(chosen, (std::vector<std::int32_t>{2, 3}));  // the group of the two best together
  shape.top_k_groups = 2;
  router_choose(shape, scores, {}, chosen, probability);
  EXPECT_EQ(chosen, (std::vector<std::int32_t>{0, 2}));
}

TEST(Router, ATrainedBiasStandsBeforeTheScores) {
  const RouterShape shape{.num_experts = 2, .top_k = 1, .score = RouterScore::sigmoid};
  Values scores(1, 2);
  router_scores(choose_gemm(), shape, Values::of({1.0, 2.0}, 1), Values::of({1.0, 0.0, 0.0, 1.0}, 2),
                std::vector<float>{-1.0F, 0.0F}, 1, scores);
  EXPECT_NEAR(scores.doubles()[0], 0.5, 1e-7);
  EXPECT_NEAR(scores.doubles()[1], 1.0 / (1.0 + std::exp(-2.0)), 1e-7);
  std::vector<float> gradient = {1.0F, 1.0F};
  router_bias_wgrad(Values::of({2.0, 3.0, 4.0, 5.0}, 2), gradient);
  EXPECT_EQ(gradient, (std::vector<float>{7.0F, 9.0F}));
}

}  // namespace
}  // namespace orrery::executor
