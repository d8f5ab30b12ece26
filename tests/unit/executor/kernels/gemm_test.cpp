// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/gemm.h"

#include "base/errors.h"
#include "tests/unit/executor/kernels/values.h"

#include <cstdlib>
#include <cstring>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

namespace orrery::executor {
namespace {

/// op(a) op(b) by the definition, in f64.
Doubles product_of(const GemmArgs& args) {
  std::vector<float> a_storage, b_storage;
  const ConstMatrix a = widened(args.a, a_storage);
  const ConstMatrix b = widened(args.b, b_storage);
  const std::int64_t depth = args.transpose_a ? a.rows : a.cols;
  Doubles product;
  for (std::int64_t i = 0; i < args.c.rows; ++i) {
    for (std::int64_t j = 0; j < args.c.cols; ++j) {
      double sum = 0.0;
      for (std::int64_t k = 0; k < depth; ++k) {
        const double left = args.transpose_a ? a.row<float>(k)[i] : a.row<float>(i)[k];
        const double right = args.transpose_b ? b.row<float>(j)[k] : b.row<float>(k)[j];
        sum += left * right;
      }
      product.push_back(sum);
    }
  }
  return product;
}

Values stored(std::int64_t rows, std::int64_t cols, bool transposed, const std::string& name, DType dtype) {
  return transposed ? Values::random(cols, rows, name, dtype) : Values::random(rows, cols, name, dtype);
}

/// Largest error of one product, relative to its largest element.
double error_of(const Gemm& gemm, bool transpose_a, bool transpose_b, DType operands, DType result) {
  const std::int64_t m = 19, n = 37, k = 53;
  const Values a = stored(m, k, transpose_a, "a", operands);
  const Values b = stored(k, n, transpose_b, "b", operands);
  Values c(m, n, result);
  const GemmArgs args{.a = a, .b = b, .c = c, .transpose_a = transpose_a, .transpose_b = transpose_b};
  gemm.run(args);
  return difference(c.doubles(), product_of(args));
}

class EachGemm : public testing::TestWithParam<const Gemm*> {};
INSTANTIATE_TEST_SUITE_P(Backends, EachGemm, testing::ValuesIn(available_gemms().begin(), available_gemms().end()),
                         [](const auto& test) { return std::string(test.param->name); });

TEST_P(EachGemm, MultipliesWithEveryTranspose) {
  for (const bool transpose_a : {false, true}) {
    for (const bool transpose_b : {false, true}) {
      EXPECT_LT(error_of(*GetParam(), transpose_a, transpose_b, DType::f32, DType::f32), 1e-6)
          << transpose_a << transpose_b;
      EXPECT_LT(error_of(*GetParam(), transpose_a, transpose_b, DType::bf16, DType::f32), 1e-6)
          << transpose_a << transpose_b;
      EXPECT_LT(error_of(*GetParam(), transpose_a, transpose_b, DType::bf16, DType::bf16), 0x1p-8)
          << transpose_a << transpose_b;
    }
  }
}

TEST_P(EachGemm, AddsToTheOldValueWhenItAccumulates) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Values a = Values::random(40, 16, "a", dtype);
    const Values b = Values::random(40, 24, "b", dtype);
    Values c = Values::random(16, 24, "c");
    Doubles want = c.doubles();
    const GemmArgs args{.a = a, .b = b, .c = c, .transpose_a = true, .accumulate = true};
    const Doubles product = product_of(args);
    for (std::size_t i = 0; i < want.size(); ++i) want[i] += product[i];
    GetParam()->run(args);
    EXPECT_LT(difference(c.doubles(), want), 1e-6);
  }
}

TEST_P(EachGemm, ReadsAndWritesStridedViews) {
  const Values a = Values::random(12, 100, "a");
  const Values b = Values::random(20, 90, "b");
  Values c = Values::random(12, 50, "c");
  const Doubles before = c.doubles();
  const GemmArgs args{.a = a.view().col_block(30, 16),
                      .b = b.view().col_block(64, 16),
                      .c = c.view().col_block(10, 20),
                      .transpose_b = true};
  const Doubles product = product_of(args);
  GetParam()->run(args);
  Doubles want = before;
  for (std::size_t i = 0; i < 12; ++i) {
    std::copy_n(product.begin() + static_cast<std::ptrdiff_t>(i * 20), 20,
                want.begin() + static_cast<std::ptrdiff_t>(i * 50 + 10));
  }
  EXPECT_LT(difference(c.doubles(), want), 1e-6);
}

TEST_P(EachGemm, GivesARowTheSameBitsInEveryMultipleOfSixteenRows) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const auto& [num_inputs, num_outputs] : {std::pair(96, 160), std::pair(512, 8), std::pair(384, 256)}) {
      const Values x = Values::random(256, num_inputs, "x", dtype);
      const Values w = Values::random(num_outputs, num_inputs, "w", dtype);
      Values all(256, num_outputs, dtype);
      linear_forward(*GetParam(), x, w, all);
      for (const std::int64_t rows : {16, 32, 48, 80, 112, 128, 208, 240}) {
        Values some(rows, num_outputs, dtype);
        linear_forward(*GetParam(), x.view().row_block(256 - rows, rows), w, some);
        const std::byte* same_rows = all.view().at(256 - rows, 0);
        EXPECT_EQ(std::memcmp(same_rows, some.bytes().data(), some.bytes().size()), 0)
            << rows << " rows, " << num_inputs << " inputs, " << num_outputs << " outputs, " << name_of(dtype);
      }
    }
  }
}

// Ranks of another layout have another number of threads. Shapes: of weight gradients, among them few elements that are
// sums of many rows, of forward products and of a head.
TEST_P(EachGemm, ThreadsChangeNoBit) {
  if (GetParam()->name == "reference") GTEST_SKIP() << "it has no threads";
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const auto& [m, n, k] : {std::tuple(256, 256, 256),
                                  {16, 256, 4096},
                                  {8, 512, 8192},
                                  {1024, 64, 256},
                                  {256, 1024, 512},
                                  {64, 64, 16}}) {
      for (const bool is_wgrad : {false, true}) {
        const Values a = stored(m, k, is_wgrad, "a", dtype), b = stored(k, n, !is_wgrad, "b", dtype);
        const auto bytes_with = [&](int threads) {
          set_num_threads(threads);
          Values c(m, n);
          GetParam()->run(
              {.a = a, .b = b, .c = c, .transpose_a = is_wgrad, .transpose_b = !is_wgrad, .accumulate = is_wgrad});
          set_num_threads(1);
          return c.bytes();
        };
        const std::vector<std::byte> one = bytes_with(1);
        for (const int threads : {2, 3, 8}) {
          EXPECT_TRUE(bytes_with(threads) == one) << m << " " << n << " " << k << " " << threads << name_of(dtype);
        }
      }
    }
  }
}

TEST_P(EachGemm, RefusesShapesThatDoNotFit) {
  Values c(4, 4);
  EXPECT_THROW(GetParam()->run({.a = Values(4, 5), .b = Values(6, 4), .c = c}), InternalError);
  EXPECT_THROW(GetParam()->run({.a = Values(4, 5), .b = Values(5, 4, DType::bf16), .c = c}), InternalError);
  Values narrow(4, 4, DType::bf16);
  EXPECT_THROW(GetParam()->run({.a = narrow, .b = narrow, .c = narrow, .accumulate = true}), InternalError);
}

TEST(Linear, GradientsAreThoseOfTheForwardProduct) {
  const Gemm& gemm = choose_gemm("reference");
  const Values x = Values::random(5, 4, "x");
  const Values w = Values::random(3, 4, "w");
  const Values dy = Values::random(5, 3, "dy");
  const auto loss = [&](const Doubles& x_now, const Doubles& w_now) {
    Doubles y(15);
    for (std::size_t i = 0; i < 5; ++i) {
      for (std::size_t j = 0; j < 3; ++j) {
        for (std::size_t k = 0; k < 4; ++k) y[i * 3 + j] += x_now[i * 4 + k] * w_now[j * 4 + k];
      }
    }
    return dot(y, dy.doubles());
  };
  Values dx(5, 4);
  linear_igrad(gemm, dy, w, dx);
  EXPECT_LT(
      difference(dx.doubles(), numeric_gradient([&](const Doubles& v) { return loss(v, w.doubles()); }, x.doubles())),
      1e-6);
  Values dw(3, 4);
  linear_wgrad(gemm, dy, x, dw);
  EXPECT_LT(
      difference(dw.doubles(), numeric_gradient([&](const Doubles& v) { return loss(x.doubles(), v); }, w.doubles())),
      1e-6);
}

TEST(ChooseGemm, TakesTheNamedBackEndOrTheVariableOrTheBest) {
  unsetenv("ORRERY_GEMM");
  EXPECT_EQ(&choose_gemm(), available_gemms().front());
  setenv("ORRERY_GEMM", "reference", 1);
  EXPECT_EQ(choose_gemm().name, "reference");
  EXPECT_EQ(choose_gemm("eigen").name, "eigen");
  unsetenv("ORRERY_GEMM");
}

TEST(ChooseGemm, NamesTheBackEndsOfThisBuildWhenThereIsNoSuchOne) {
  std::string names;
  for (const Gemm* gemm : available_gemms()) names += (names.empty() ? "" : ", ") + std::string(gemm->name);
  const auto message_of = [](std::string_view name) -> std::string {
    try {
      choose_gemm(name);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_EQ(message_of("mkl"), "GEMM back end: expected one of " + names + ", got \"mkl\"");
  setenv("ORRERY_GEMM", "blas", 1);
  EXPECT_EQ(message_of(""), "ORRERY_GEMM: expected one of " + names + ", got \"blas\"");
  unsetenv("ORRERY_GEMM");
}

/// Exit status of this test program run for one test with one more environment variable.
int run_self(const std::string& filter, const std::string& variable) {
  std::string filter_flag = "--gtest_filter=" + filter;
  std::string self = "test";
  std::string added = variable;
  char* const arguments[] = {self.data(), filter_flag.data(), nullptr};
  std::vector<char*> environment = {added.data()};
  for (char** entry = environ; *entry != nullptr; ++entry) environment.push_back(*entry);
  environment.push_back(nullptr);
  pid_t child = 0;
  if (posix_spawn(&child, "/proc/self/exe", nullptr, nullptr, arguments, environment.data()) != 0) return -1;
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// oneDNN reads the variable once, at its first use: hence a process of its own, where this test is run again.
TEST(Gemm, WidensBf16WhereTheCpuHasNoBf16Product) {
  const char* limit = std::getenv("ONEDNN_MAX_CPU_ISA");
  if (limit == nullptr || std::string_view(limit) != "AVX2") {
    EXPECT_EQ(run_self("Gemm.WidensBf16WhereTheCpuHasNoBf16Product", "ONEDNN_MAX_CPU_ISA=AVX2"), 0);
    return;
  }
  for (const Gemm* gemm : available_gemms()) {
    EXPECT_FALSE(gemm->native_bf16()) << gemm->name;
    EXPECT_LT(error_of(*gemm, false, true, DType::bf16, DType::f32), 1e-6) << gemm->name;
    EXPECT_LT(error_of(*gemm, false, true, DType::bf16, DType::bf16), 0x1p-8) << gemm->name;
  }
}

}  // namespace
}  // namespace orrery::executor
