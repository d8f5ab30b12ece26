// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/grouped_gemm.h"

#include "base/errors.h"
#include "tests/unit/executor/kernels/values.h"

#include <cstring>

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

constexpr std::int64_t kOutputs = 48;
constexpr std::int64_t kInputs = 32;

class EachGroupedGemm : public testing::TestWithParam<const Gemm*> {
 protected:
  const Gemm& gemm() const { return *GetParam(); }
  // An expert without rows, one with few, one with several blocks and a rest, one with exactly one padded block.
  const std::vector<std::int64_t> offsets_ = {0, 0, 5, 5 + 3 * kGroupedBlock + 77, 5 + 3 * kGroupedBlock + 77 + 16};
  const std::int64_t rows_ = offsets_.back();
  const std::int64_t num_experts_ = static_cast<std::int64_t>(offsets_.size()) - 1;
};
INSTANTIATE_TEST_SUITE_P(Backends, EachGroupedGemm,
                         testing::ValuesIn(available_gemms().begin(), available_gemms().end()),
                         [](const auto& test) { return std::string(test.param->name); });

TEST_P(EachGroupedGemm, GivesEachExpertItsOwnLinearLayer) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const double tolerance = dtype == DType::f32 ? 1e-6 : 0x1p-8;
    const Values x = Values::random(rows_, kInputs, "x", dtype);
    const Values dy = Values::random(rows_, kOutputs, "dy", dtype);
    const Values w = Values::random(num_experts_ * kOutputs, kInputs, "w", dtype);
    Values y(rows_, kOutputs, dtype), dx(rows_, kInputs, dtype), dw(num_experts_ * kOutputs, kInputs);
    grouped_forward(gemm(), x, w, offsets_, y);
    grouped_igrad(gemm(), dy, w, offsets_, dx);
    grouped_wgrad(gemm(), dy, x, offsets_, dw);

    const Gemm& reference = choose_gemm("reference");
    Values want_y(rows_, kOutputs), want_dx(rows_, kInputs), want_dw(num_experts_ * kOutputs, kInputs);
    for (std::int64_t expert = 0; expert < num_experts_; ++expert) {
      const std::int64_t begin = offsets_[static_cast<std::size_t>(expert)];
      const std::int64_t count = offsets_[static_cast<std::size_t>(expert) + 1] - begin;
      const ConstMatrix weight = w.view().row_block(expert * kOutputs, kOutputs);
      linear_forward(reference, x.view().row_block(begin, count), weight, want_y.view().row_block(begin, count));
      linear_igrad(reference, dy.view().row_block(begin, count), weight, want_dx.view().row_block(begin, count));
      linear_wgrad(reference, dy.view().row_block(begin, count), x.view().row_block(begin, count),
                   want_dw.view().row_block(expert * kOutputs, kOutputs));
    }
    EXPECT_LT(difference(y.doubles(), want_y.doubles()), tolerance);
    EXPECT_LT(difference(dx.doubles(), want_dx.doubles()), tolerance);
    EXPECT_LT(difference(dw.doubles(), want_dw.doubles()), 1e-6);
  }
}

TEST_P(EachGroupedGemm, AddsToTheWeightGradient) {
  const std::vector<std::int64_t> offsets = {0, 20, 33};
  const Values x = Values::random(33, kInputs, "x");
  const Values dy = Values::random(33, kOutputs, "dy");
  Values once(2 * kOutputs, kInputs), twice(2 * kOutputs, kInputs);
  grouped_wgrad(gemm(), dy, x, offsets, once);
  grouped_wgrad(gemm(), dy, x, offsets, twice);
  grouped_wgrad(gemm(), dy, x, offsets, twice);
  Doubles want = once.doubles();
  for (double& value : want) value *= 2.0;
  EXPECT_LT(difference(twice.doubles(), want), 1e-6);
}

TEST_P(EachGroupedGemm, GivesARowTheSameBitsWhateverComesWithIt) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Values x = Values::random(400, kInputs, "x", dtype);
    const Values w = Values::random(kOutputs, kInputs, "w", dtype);
    Values all(400, kOutputs, dtype);
    grouped_forward(gemm(), x, w, std::vector<std::int64_t>{0, 400}, all);
    for (const std::int64_t rows : {1, 2, 3, 7, 15, 16, 17, 31, 47, 100, 129, 255, 256, 257, 300}) {
      Values some(rows, kOutputs, dtype);
      grouped_forward(gemm(), x.view().row_block(400 - rows, rows), w, std::vector<std::int64_t>{0, rows}, some);
      EXPECT_EQ(std::memcmp(all.view().at(400 - rows, 0), some.bytes().data(), some.bytes().size()), 0)
          << rows << " rows of " << name_of(dtype);
    }
  }
}

TEST_P(EachGroupedGemm, GivesAnExpertTheSameGradientWhateverTheOthersGet) {
  const Values x = Values::random(300, kInputs, "x");
  const Values dy = Values::random(300, kOutputs, "dy");
  Values alone(kOutputs, kInputs), among(3 * kOutputs, kInputs);
  grouped_wgrad(gemm(), dy.view().row_block(90, 201), x.view().row_block(90, 201), std::vector<std::int64_t>{0, 201},
                alone);
  grouped_wgrad(gemm(), dy, x, std::vector<std::int64_t>{0, 90, 291, 300}, among);
  EXPECT_EQ(std::memcmp(alone.bytes().data(), among.view().at(kOutputs, 0), alone.bytes().size()), 0);
}

TEST(GroupedGemm, RefusesOffsetsThatDoNotCoverTheRows) {
  Values y(10, kOutputs);
  EXPECT_THROW(grouped_forward(choose_gemm("reference"), Values(10, kInputs), Values(2 * kOutputs, kInputs),
                               std::vector<std::int64_t>{0, 4, 9}, y),
               InternalError);
}

}  // namespace
}  // namespace orrery::executor
