// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/attention.h"

#include "base/errors.h"
#include "tests/unit/executor/kernels/values.h"

#include <cmath>
#include <cstring>

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

struct Attended {
  Doubles out, logsumexp;
};

/// The definition, one token and one head at a time.
Attended reference(const AttentionShape& shape, const Doubles& qkv) {
  const auto sequence = static_cast<std::size_t>(shape.sequence);
  const auto heads = static_cast<std::size_t>(shape.num_q_heads);
  const auto kv_heads = static_cast<std::size_t>(shape.num_kv_heads);
  const auto dim = static_cast<std::size_t>(shape.head_dim);
  const std::size_t width = (heads + 2 * kv_heads) * dim;
  const std::size_t tokens = qkv.size() / width;
  Attended result{Doubles(tokens * heads * dim), Doubles(tokens * heads)};
  for (std::size_t token = 0; token < tokens; ++token) {
    for (std::size_t head = 0; head < heads; ++head) {
      const std::size_t kv_head = head / (heads / kv_heads);
      const double* q = &qkv[token * width + head * dim];
      double sum = 0.0;
      Doubles weighted(dim);
      for (std::size_t other = token / sequence * sequence; other <= token; ++other) {
        const double* k = &qkv[other * width + (heads + kv_head) * dim];
        const double* v = &qkv[other * width + (heads + kv_heads + kv_head) * dim];
        double score = 0.0;
        for (std::size_t i = 0; i < dim; ++i) score += q[i] * k[i];
        const double weight = std::exp(score / std::sqrt(static_cast<double>(dim)));
        sum += weight;
        for (std::size_t i = 0; i < dim; ++i) weighted[i] += weight * v[i];
      }
      for (std::size_t i = 0; i < dim; ++i) result.out[(token * heads + head) * dim + i] = weighted[i] / sum;
      result.logsumexp[token * heads + head] = std::log(sum);
    }
  }
  return result;
}

TEST(Attention, IsCausalSoftmaxWithinEachSequence) {
  // Longer than one block of queries, and not a multiple of it.
  const AttentionShape shape{.sequence = kAttentionBlock + 45, .num_q_heads = 4, .num_kv_heads = 2, .head_dim = 16};
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Values qkv = Values::random(2 * shape.sequence, shape.qkv_width(), "qkv", dtype);
    const Attended want = reference(shape, qkv.doubles());
    for (const Gemm* gemm : available_gemms()) {
      Values out(2 * shape.sequence, shape.out_width(), dtype), logsumexp(2 * shape.sequence, shape.num_q_heads);
      attention_forward(*gemm, shape, qkv, out, logsumexp);
      EXPECT_LT(difference(out.doubles(), want.out), dtype == DType::f32 ? 2e-6 : 0x1p-7) << gemm->name;
      EXPECT_LT(difference(logsumexp.doubles(), want.logsumexp), 2e-6) << gemm->name;
    }
  }
}

TEST(Attention, BackwardIsTheGradientOfTheForward) {
  const AttentionShape shape{.sequence = 7, .num_q_heads = 4, .num_kv_heads = 2, .head_dim = 4};
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Values qkv = Values::random(2 * shape.sequence, shape.qkv_width(), "qkv", dtype);
    const Values dout = Values::random(2 * shape.sequence, shape.out_width(), "dout", dtype);
    const auto loss = [&](const Doubles& v) { return dot(reference(shape, v).out, dout.doubles()); };
    const Doubles want = numeric_gradient(loss, qkv.doubles());
    for (const Gemm* gemm : available_gemms()) {
      Values out(2 * shape.sequence, shape.out_width(), dtype), logsumexp(2 * shape.sequence, shape.num_q_heads);
      Values dqkv(2 * shape.sequence, shape.qkv_width(), dtype);
      attention_forward(*gemm, shape, qkv, out, logsumexp);
      attention_backward(*gemm, shape, qkv, logsumexp, dout, dqkv);
      EXPECT_LT(difference(dqkv.doubles(), want), dtype == DType::f32 ? 2e-6 : 0x1p-6) << gemm->name;
    }
  }
}

// Finite differences are too slow over several blocks; along one direction they are not.
TEST(Attention, BackwardIsRightOverSeveralBlocksOfQueries) {
  const AttentionShape shape{.sequence = 2 * kAttentionBlock + 20, .num_q_heads = 2, .num_kv_heads = 1, .head_dim = 8};
  const Values qkv = Values::random(shape.sequence, shape.qkv_width(), "qkv");
  const Values dout = Values::random(shape.sequence, shape.out_width(), "dout");
  Values out(shape.sequence, shape.out_width()), logsumexp(shape.sequence, shape.num_q_heads);
  Values dqkv(shape.sequence, shape.qkv_width());
  attention_forward(choose_gemm(), shape, qkv, out, logsumexp);
  attention_backward(choose_gemm(), shape, qkv, logsumexp, dout, dqkv);
  for (const char* name : {"one direction", "another", "a third"}) {
    const Doubles direction = Values::random(shape.sequence, shape.qkv_width(), name).doubles();
    const auto loss = [&](const Doubles& step) {
      Doubles moved = qkv.doubles();
      for (std::size_t i = 0; i < moved.size(); ++i) moved[i] += step[0] * direction[i];
      return dot(reference(shape, moved).out, dout.doubles());
    };
    const double slope = numeric_gradient(loss, {0.0})[0];
    EXPECT_NEAR(dot(dqkv.doubles(), direction), slope, 1e-5 * std::abs(slope)) << name;
  }
}

TEST(Attention, GivesASequenceTheSameBitsWhateverComesWithIt) {
  const AttentionShape shape{.sequence = 160, .num_q_heads = 2, .num_kv_heads = 1, .head_dim = 16};
  const Values qkv = Values::random(3 * shape.sequence, shape.qkv_width(), "qkv");
  const Values dout = Values::random(3 * shape.sequence, shape.out_width(), "dout");
  const auto run = [&](std::int64_t begin, std::int64_t rows) {
    Values out(rows, shape.out_width()), logsumexp(rows, shape.num_q_heads), dqkv(rows, shape.qkv_width());
    const ConstMatrix qkv_rows = qkv.view().row_block(begin, rows);
    attention_forward(choose_gemm(), shape, qkv_rows, out, logsumexp);
    attention_backward(choose_gemm(), shape, qkv_rows, logsumexp, dout.view().row_block(begin, rows), dqkv);
    return std::pair(out, dqkv);
  };
  const auto [all_out, all_dqkv] = run(0, 3 * shape.sequence);
  const auto [one_out, one_dqkv] = run(shape.sequence, shape.sequence);
  EXPECT_EQ(std::memcmp(all_out.view().at(shape.sequence, 0), one_out.bytes().data(), one_out.bytes().size()), 0);
  EXPECT_EQ(std::memcmp(all_dqkv.view().at(shape.sequence, 0), one_dqkv.bytes().data(), one_dqkv.bytes().size()), 0);
}

TEST(Attention, RefusesRowsThatDoNotFitTheShape) {
  const AttentionShape shape{.sequence = 4, .num_q_heads = 2, .num_kv_heads = 1, .head_dim = 8};
  Values out(4, shape.out_width()), logsumexp(4, 2);
  EXPECT_THROW(attention_forward(choose_gemm(), shape, Values(4, shape.qkv_width() + 1), out, logsumexp),
               InternalError);
}

}  // namespace
}  // namespace orrery::executor
