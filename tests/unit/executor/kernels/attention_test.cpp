// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/attention.h"

#include "base/errors.h"
#include "tests/unit/executor/kernels/values.h"

#include <cmath>
#include <cstring>
#include <numeric>

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

/// Whole sequences, and rows of q, k and v side by side.
struct Shape {
  std::int64_t sequence = 0, num_q_heads = 0, num_kv_heads = 0, head_dim = 0;
  std::int64_t window = 0;

  std::int64_t qkv_width() const { return (num_q_heads + 2 * num_kv_heads) * head_dim; }
  std::int64_t out_width() const { return num_q_heads * head_dim; }
  AttentionDims dims() const {
    return {
        .num_q_heads = num_q_heads, .num_kv_heads = num_kv_heads, .d_qk = head_dim, .d_v = head_dim, .window = window};
  }
  template <class View>
  QkvRows<View> parts(const View& rows) const {
    const std::int64_t q = num_q_heads * head_dim, k = num_kv_heads * head_dim;
    return {rows.col_block(0, q), rows.col_block(q, k), rows.col_block(q + k, rows.cols - q - k)};
  }
};

std::vector<std::int64_t> positions_to(std::int64_t sequence) {
  std::vector<std::int64_t> all(static_cast<std::size_t>(sequence));
  std::iota(all.begin(), all.end(), 0);
  return all;
}

void attention_forward(const Gemm& gemm, const Shape& shape, ConstMatrix qkv, Matrix out, Matrix logsumexp,
                       std::span<const float> sinks = {}) {
  const std::vector<std::int64_t> all = positions_to(shape.sequence);
  executor::attention_forward(gemm, shape.dims(), {all, all}, shape.parts(qkv), sinks, out, logsumexp);
}

void attention_backward(const Gemm& gemm, const Shape& shape, ConstMatrix qkv, ConstMatrix out, ConstMatrix logsumexp,
                        ConstMatrix dout, Matrix dqkv) {
  const std::vector<std::int64_t> all = positions_to(shape.sequence);
  executor::attention_backward(gemm, shape.dims(), {all, all}, shape.parts(qkv), out, logsumexp, dout, false,
                               shape.parts(dqkv));
}

struct Attended {
  Doubles out, logsumexp;
};

/// The definition, one token and one head at a time.
Attended reference(const Shape& shape, const Doubles& qkv, const Doubles& sinks = {}) {
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
      double sum = sinks.empty() ? 0.0 : std::exp(sinks[head]);
      Doubles weighted(dim);
      const auto window = static_cast<std::size_t>(shape.window);
      for (std::size_t other = token / sequence * sequence; other <= token; ++other) {
        if (window > 0 && other + window <= token) continue;
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
  const Shape shape{.sequence = kAttentionBlock + 45, .num_q_heads = 4, .num_kv_heads = 2, .head_dim = 16};
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
  const Shape shape{.sequence = 7, .num_q_heads = 4, .num_kv_heads = 2, .head_dim = 4};
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Values qkv = Values::random(2 * shape.sequence, shape.qkv_width(), "qkv", dtype);
    const Values dout = Values::random(2 * shape.sequence, shape.out_width(), "dout", dtype);
    const auto loss = [&](const Doubles& v) { return dot(reference(shape, v).out, dout.doubles()); };
    const Doubles want = numeric_gradient(loss, qkv.doubles());
    for (const Gemm* gemm : available_gemms()) {
      Values out(2 * shape.sequence, shape.out_width(), dtype), logsumexp(2 * shape.sequence, shape.num_q_heads);
      Values dqkv(2 * shape.sequence, shape.qkv_width(), dtype);
      attention_forward(*gemm, shape, qkv, out, logsumexp);
      attention_backward(*gemm, shape, qkv, out, logsumexp, dout, dqkv);
      EXPECT_LT(difference(dqkv.doubles(), want), dtype == DType::f32 ? 2e-6 : 0x1p-6) << gemm->name;
    }
  }
}

// Finite differences are too slow over several blocks; along one direction they are not.
TEST(Attention, BackwardIsRightOverSeveralBlocksOfQueries) {
  const Shape shape{.sequence = 2 * kAttentionBlock + 20, .num_q_heads = 2, .num_kv_heads = 1, .head_dim = 8};
  const Values qkv = Values::random(shape.sequence, shape.qkv_width(), "qkv");
  const Values dout = Values::random(shape.sequence, shape.out_width(), "dout");
  Values out(shape.sequence, shape.out_width()), logsumexp(shape.sequence, shape.num_q_heads);
  Values dqkv(shape.sequence, shape.qkv_width());
  attention_forward(choose_gemm(), shape, qkv, out, logsumexp);
  attention_backward(choose_gemm(), shape, qkv, out, logsumexp, dout, dqkv);
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
  const Shape shape{.sequence = 160, .num_q_heads = 2, .num_kv_heads = 1, .head_dim = 16};
  const Values qkv = Values::random(3 * shape.sequence, shape.qkv_width(), "qkv");
  const Values dout = Values::random(3 * shape.sequence, shape.out_width(), "dout");
  const auto run = [&](std::int64_t begin, std::int64_t rows) {
    Values out(rows, shape.out_width()), logsumexp(rows, shape.num_q_heads), dqkv(rows, shape.qkv_width());
    const ConstMatrix qkv_rows = qkv.view().row_block(begin, rows);
    attention_forward(choose_gemm(), shape, qkv_rows, out, logsumexp);
    attention_backward(choose_gemm(), shape, qkv_rows, out, logsumexp, dout.view().row_block(begin, rows), dqkv);
    return std::pair(out, dqkv);
  };
  const auto [all_out, all_dqkv] = run(0, 3 * shape.sequence);
  const auto [one_out, one_dqkv] = run(shape.sequence, shape.sequence);
  EXPECT_EQ(std::memcmp(all_out.view().at(shape.sequence, 0), one_out.bytes().data(), one_out.bytes().size()), 0);
  EXPECT_EQ(std::memcmp(all_dqkv.view().at(shape.sequence, 0), one_dqkv.bytes().data(), one_dqkv.bytes().size()), 0);
}

TEST(Attention, AQuerySeesTheKeysOfItsWindow) {
  const Shape shape{
      .sequence = kAttentionBlock + 45, .num_q_heads = 2, .num_kv_heads = 1, .head_dim = 16, .window = 20};
  const Values qkv = Values::random(2 * shape.sequence, shape.qkv_width(), "qkv");
  const Values dout = Values::random(2 * shape.sequence, shape.out_width(), "dout");
  Values out(2 * shape.sequence, shape.out_width()), logsumexp(2 * shape.sequence, 2);
  Values dqkv(2 * shape.sequence, shape.qkv_width());
  attention_forward(choose_gemm(), shape, qkv, out, logsumexp);
  EXPECT_LT(difference(out.doubles(), reference(shape, qkv.doubles()).out), 2e-6);
  attention_backward(choose_gemm(), shape, qkv, out, logsumexp, dout, dqkv);
  const Doubles direction = Values::random(2 * shape.sequence, shape.qkv_width(), "direction").doubles();
  const auto loss = [&](const Doubles& step) {
    Doubles moved = qkv.doubles();
    for (std::size_t i = 0; i < moved.size(); ++i) moved[i] += step[0] * direction[i];
    return dot(reference(shape, moved).out, dout.doubles());
  };
  const double slope = numeric_gradient(loss, {0.0})[0];
  EXPECT_NEAR(dot(dqkv.doubles(), direction), slope, 1e-5 * std::abs(slope));
}

TEST(Attention, AChunkedWindowIsABlockOfTheSequence) {
  // Each block of four is then a sequence of its own.
  const Shape shape{.sequence = 12, .num_q_heads = 2, .num_kv_heads = 1, .head_dim = 8};
  Shape block = shape;
  block.sequence = 4;
  const Values qkv = Values::random(12, shape.qkv_width(), "qkv");
  Values out(12, shape.out_width()), logsumexp(12, 2);
  AttentionDims dims = shape.dims();
  dims.window = 4;
  dims.chunked = true;
  const std::vector<std::int64_t> all = positions_to(12);
  executor::attention_forward(choose_gemm(), dims, {all, all}, shape.parts(qkv.view()), {}, out, logsumexp);
  EXPECT_LT(difference(out.doubles(), reference(block, qkv.doubles()).out), 2e-6);
}

TEST(Attention, ASinkJoinsTheSoftmaxOfItsHead) {
  const Shape shape{.sequence = 7, .num_q_heads = 2, .num_kv_heads = 1, .head_dim = 8};
  const Values qkv = Values::random(7, shape.qkv_width(), "qkv");
  const Values dout = Values::random(7, shape.out_width(), "dout");
  const std::vector<float> sinks = {0.5F, -1.0F};
  const Doubles wide(sinks.begin(), sinks.end());
  Values out(7, shape.out_width()), logsumexp(7, 2), dqkv(7, shape.qkv_width());
  attention_forward(choose_gemm(), shape, qkv, out, logsumexp, sinks);
  EXPECT_LT(difference(out.doubles(), reference(shape, qkv.doubles(), wide).out), 2e-6);
  attention_backward(choose_gemm(), shape, qkv, out, logsumexp, dout, dqkv);
  const auto loss_of_rows = [&](const Doubles& v) { return dot(reference(shape, v, wide).out, dout.doubles()); };
  EXPECT_LT(difference(dqkv.doubles(), numeric_gradient(loss_of_rows, qkv.doubles())), 2e-6);
  std::vector<float> dsinks(2);
  attention_sink_backward(sinks, out, logsumexp, dout, dsinks);
  const auto loss_of_sinks = [&](const Doubles& s) {
    return dot(reference(shape, qkv.doubles(), s).out, dout.doubles());
  };
  EXPECT_LT(difference(Doubles(dsinks.begin(), dsinks.end()), numeric_gradient(loss_of_sinks, wide)), 2e-6);
}

// What context parallelism does: parts of the keys one after the other, put together.
TEST(Attention, PartsOfTheKeysMergeToTheWhole) {
  const Shape shape{.sequence = 16, .num_q_heads = 2, .num_kv_heads = 1, .head_dim = 8};
  const Values qkv = Values::random(16, shape.qkv_width(), "qkv");
  Values out(16, shape.out_width()), logsumexp(16, 2), part(16, shape.out_width()), part_sum(16, 2);
  const std::vector<std::int64_t> all = positions_to(16), late = {8, 9, 10, 11, 12, 13, 14, 15};
  const std::vector<std::int64_t> early = positions_to(8);
  const QkvRows<ConstMatrix> rows = shape.parts(qkv.view());
  const auto keys_from = [&](std::int64_t first) {
    return QkvRows<ConstMatrix>{rows.q, rows.k.row_block(first, 8), rows.v.row_block(first, 8)};
  };
  executor::attention_forward(choose_gemm(), shape.dims(), {all, late}, keys_from(8), {}, out, logsumexp);
  EXPECT_EQ(out.doubles()[0], 0.0);  // the first queries see none of these keys
  executor::attention_forward(choose_gemm(), shape.dims(), {all, early}, keys_from(0), {}, part, part_sum);
  merge_attention(part, part_sum, out, logsumexp);
  const Attended want = reference(shape, qkv.doubles());
  EXPECT_LT(difference(out.doubles(), want.out), 2e-6);
  EXPECT_LT(difference(logsumexp.doubles(), want.logsumexp), 2e-6);
}

TEST(Attention, RefusesRowsThatDoNotFitTheShape) {
  const Shape shape{.sequence = 4, .num_q_heads = 2, .num_kv_heads = 1, .head_dim = 8};
  Values out(4, shape.out_width()), logsumexp(4, 2);
  EXPECT_THROW(attention_forward(choose_gemm(), shape, Values(4, shape.qkv_width() + 1), out, logsumexp),
               InternalError);
}

}  // namespace
}  // namespace orrery::executor
