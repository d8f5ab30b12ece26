// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/embedding.h"

#include "base/errors.h"
#include "tests/unit/executor/kernels/values.h"

#include <cmath>

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

constexpr VocabularyPart kWhole{.first = 0, .size = 2, .total = 2};

TEST(Embedding, LooksUpTheRowOfEachToken) {
  Values out(3, 2, DType::bf16);
  embedding_forward(Values::of({1.0, 2.0, 3.0, 4.0}, 2, DType::bf16), kWhole, std::vector<std::int32_t>{1, 0, 1}, out);
  EXPECT_EQ(out.doubles(), (Doubles{3.0, 4.0, 1.0, 2.0, 3.0, 4.0}));
}

TEST(Embedding, BackwardAddsTheGradientsOfRepeatedTokensInOrder) {
  Values dtable = Values::of({0.5, 0.0, 7.0}, 3);
  embedding_backward(Values::of({1e8, 1.0, -1e8, 2.0}, 4), {.first = 0, .size = 3, .total = 3},
                     std::vector<std::int32_t>{1, 1, 1, 0}, dtable);
  EXPECT_EQ(dtable.doubles(), (Doubles{2.5, 0.0, 7.0}));  // 1 is lost in 1e8
}

TEST(Embedding, RefusesTokensOutsideOfTheVocabulary) {
  Values out(1, 2);
  EXPECT_THROW(embedding_forward(Values(2, 2), kWhole, std::vector<std::int32_t>{2}, out), InternalError);
  EXPECT_THROW(embedding_forward(Values(2, 2), kWhole, std::vector<std::int32_t>{-1}, out), InternalError);
}

constexpr std::int64_t kRows = 5;
constexpr std::int64_t kVocabulary = 43;

double reference_loss(const Doubles& logits, const std::vector<std::int32_t>& targets) {
  double loss = 0.0;
  for (std::size_t row = 0; row < kRows; ++row) {
    double sum = 0.0;
    for (std::size_t i = 0; i < kVocabulary; ++i) sum += std::exp(logits[row * kVocabulary + i]);
    loss += std::log(sum) - logits[row * kVocabulary + static_cast<std::size_t>(targets[row])];
  }
  return loss;
}

const std::vector<std::int32_t> kTargets = {3, 0, 42, 17, 3};

TEST(CrossEntropy, IsTheSumOfNegativeLogProbabilities) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Values logits = Values::random(kRows, kVocabulary, "logits", dtype);
    EXPECT_NEAR(cross_entropy_forward(logits, kTargets), reference_loss(logits.doubles(), kTargets), 1e-5);
  }
}

TEST(CrossEntropy, OfUniformLogitsIsTheLogarithmOfTheVocabulary) {
  EXPECT_NEAR(cross_entropy_forward(Values(kRows, kVocabulary), kTargets), kRows * std::log(43.0), 1e-6);
}

TEST(CrossEntropy, SurvivesLargeLogits) {
  const Values logits = Values::of({1000.0, 0.0, -1000.0}, 1);
  EXPECT_NEAR(cross_entropy_forward(logits, std::vector<std::int32_t>{0}), 0.0, 1e-6);
  EXPECT_NEAR(cross_entropy_forward(logits, std::vector<std::int32_t>{2}), 2000.0, 1e-3);
}

TEST(CrossEntropy, BackwardIsTheScaledGradient) {
  const Values logits = Values::random(kRows, kVocabulary, "logits");
  const Doubles want =
      numeric_gradient([](const Doubles& v) { return 0.125 * reference_loss(v, kTargets); }, logits.doubles());
  for (const DType dtype : {DType::f32, DType::bf16}) {
    Values dlogits(kRows, kVocabulary, dtype);
    cross_entropy_backward(logits, kTargets, 0.125F, dlogits);
    EXPECT_LT(difference(dlogits.doubles(), want), dtype == DType::f32 ? 1e-7 : 0x1p-12);
  }
}

TEST(CrossEntropy, BackwardMayWriteOverTheLogits) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    Values in_place = Values::random(kRows, kVocabulary, "logits", dtype);
    Values beside(kRows, kVocabulary, dtype);
    cross_entropy_backward(in_place, kTargets, 0.5F, beside);
    cross_entropy_backward(in_place, kTargets, 0.5F, in_place);
    EXPECT_EQ(in_place.bytes(), beside.bytes());
  }
}

TEST(Embedding, ARankLooksUpTheTokensOfItsPartAndLeavesTheOthersZero) {
  const VocabularyPart upper{.first = 2, .size = 2, .total = 4};
  Values out(3, 1), gradient(2, 1);
  embedding_forward(Values::of({5.0, 7.0}, 2), upper, std::vector<std::int32_t>{3, 0, 2}, out);
  EXPECT_EQ(out.doubles(), (Doubles{7.0, 0.0, 5.0}));
  embedding_backward(Values::of({1.0, 10.0, 100.0}, 3), upper, std::vector<std::int32_t>{3, 0, 3}, gradient);
  EXPECT_EQ(gradient.doubles(), (Doubles{0.0, 101.0}));
}

TEST(CrossEntropy, OverPartsOfTheVocabularyIsThatOverAll) {
  const Values logits = Values::random(3, 8, "logits");
  const std::vector<std::int32_t> targets = {1, 6, 7};
  Values whole_gradient(3, 8);
  const double loss = cross_entropy_forward(logits, targets);
  cross_entropy_backward(logits, targets, 0.5F, whole_gradient);

  Values largest(3, 1);
  largest_logits(logits, largest);
  std::vector<float> sums(6), more(6);
  std::vector<Values> shifted(2, Values(3, 4));
  for (std::int64_t part = 0; part < 2; ++part) {
    Values& mine = shifted[static_cast<std::size_t>(part)];
    shift_logits(logits.view().col_block(4 * part, 4), largest, mine);
    cross_entropy_part(mine, {.first = 4 * part, .size = 4, .total = 8}, targets, more);
    for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += more[i];
  }
  for (std::int64_t part = 0; part < 2; ++part) {
    Values& mine = shifted[static_cast<std::size_t>(part)];
    EXPECT_NEAR(cross_entropy_finish(sums, mine), loss, 1e-5);
    Values gradient(3, 4), want(3, 4);
    cross_entropy_backward_part(mine, {.first = 4 * part, .size = 4, .total = 8}, targets, 0.5F, gradient);
    convert(whole_gradient.view().col_block(4 * part, 4), want);
    EXPECT_LT(difference(gradient.doubles(), want.doubles()), 1e-6);
  }
}

}  // namespace
}  // namespace orrery::executor
