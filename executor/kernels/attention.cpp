// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/attention.h"

#include "executor/kernels/element.h"
#include "executor/kernels/elementwise.h"
#include "executor/kernels/simd_math.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace orrery::executor {
namespace {

/// The columns of one q, k or v head in the rows of one sequence.
template <class View>
struct Heads {
  View rows;
  const AttentionShape& shape;

  View q(std::int64_t head) const { return rows.col_block(head * shape.head_dim, shape.head_dim); }
  View k(std::int64_t kv_head) const { return q(shape.num_q_heads + kv_head); }
  View v(std::int64_t kv_head) const { return q(shape.num_q_heads + shape.num_kv_heads + kv_head); }
};

/// Per-thread room for a block of query rows against a whole sequence, in f32 and in the storage type.
template <class T>
struct BlockRoom {
  std::vector<float> scores, dprobabilities, dk, dv;
  std::vector<T> probabilities, dscores;

  static BlockRoom& of(const AttentionShape& shape) {
    thread_local BlockRoom room;
    const auto block = static_cast<std::size_t>(kAttentionBlock * shape.sequence);
    const auto head = static_cast<std::size_t>(shape.sequence * shape.head_dim);
    for (auto* part : {&room.scores, &room.dprobabilities}) part->resize(block);
    for (auto* part : {&room.dk, &room.dv}) part->resize(head);
    for (auto* part : {&room.probabilities, &room.dscores}) part->resize(block);
    return room;
  }
};

/// Query rows `begin` .. `begin + count` see the keys 0 .. `num_keys`.
struct QueryBlock {
  std::int64_t begin, count, num_keys;
};

template <class Work>
void for_each_query_block(std::int64_t sequence, Work&& work) {
  for (std::int64_t begin = 0; begin < sequence; begin += kAttentionBlock) {
    const std::int64_t count = std::min(kAttentionBlock, sequence - begin);
    work(QueryBlock{begin, count, begin + count});
  }
}

/// Softmax of scale * score over the first `size` entries; the rest, which is masked, becomes zero.
/// Returns the logsumexp of the scaled scores. Writes e^(score - largest) over the scores on the way.
template <class T>
float softmax_row(float* score, float scale, std::int64_t size, std::int64_t num_keys, T* probability) {
  float largest = -std::numeric_limits<float>::infinity();
#pragma omp simd reduction(max : largest)
  for (std::int64_t i = 0; i < size; ++i) largest = std::max(largest, score[i]);
  float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < size; ++i) {
    score[i] = vector_exp((score[i] - largest) * scale);
    sum += score[i];
  }
  const float normalizer = 1.0F / sum;
#pragma omp simd
  for (std::int64_t i = 0; i < size; ++i) probability[i] = score[i] * normalizer;
  std::fill(probability + size, probability + num_keys, static_cast<T>(0.0F));
  return largest * scale + std::log(sum);
}

/// From a row of scores and of dout v^T: the probabilities p again, and the gradient of the unscaled scores,
/// scale * p * (dp - sum(p dp)).
template <class T>
void softmax_backward_row(float* score, const float* dprobability, float scale, float logsumexp, std::int64_t size,
                          std::int64_t num_keys, T* probability, T* dscore) {
  float mean = 0.0F;
#pragma omp simd reduction(+ : mean)
  for (std::int64_t i = 0; i < size; ++i) {
    score[i] = vector_exp(score[i] * scale - logsumexp);
    mean += score[i] * dprobability[i];
  }
#pragma omp simd
  for (std::int64_t i = 0; i < size; ++i) {
    probability[i] = score[i];
    dscore[i] = scale * score[i] * (dprobability[i] - mean);
  }
  std::fill(probability + size, probability + num_keys, static_cast<T>(0.0F));
  std::fill(dscore + size, dscore + num_keys, static_cast<T>(0.0F));
}

template <class T>
void forward_head(const Gemm& gemm, const AttentionShape& shape, ConstMatrix q, ConstMatrix k, ConstMatrix v,
                  Matrix out, Matrix logsumexp) {
  BlockRoom<T>& room = BlockRoom<T>::of(shape);
  const float scale = 1.0F / std::sqrt(static_cast<float>(shape.head_dim));
  for_each_query_block(shape.sequence, [&](QueryBlock block) {
    const Matrix scores = matrix_of(room.scores.data(), block.count, block.num_keys);
    const Matrix probabilities = matrix_of(room.probabilities.data(), block.count, block.num_keys);
    gemm.run({.a = q.row_block(block.begin, block.count),
              .b = k.row_block(0, block.num_keys),
              .c = scores,
              .transpose_b = true});
    for (std::int64_t row = 0; row < block.count; ++row) {
      *logsumexp.row<float>(block.begin + row) = softmax_row(scores.row<float>(row), scale, block.begin + row + 1,
                                                             block.num_keys, probabilities.template row<T>(row));
    }
    gemm.run({.a = probabilities, .b = v.row_block(0, block.num_keys), .c = out.row_block(block.begin, block.count)});
  });
}

/// Writes dq; adds to room.dk and room.dv, which the query heads of a group share.
template <class T>
void backward_head(const Gemm& gemm, const AttentionShape& shape, ConstMatrix q, ConstMatrix k, ConstMatrix v,
                   ConstMatrix logsumexp, ConstMatrix dout, Matrix dq) {
  BlockRoom<T>& room = BlockRoom<T>::of(shape);
  const float scale = 1.0F / std::sqrt(static_cast<float>(shape.head_dim));
  for_each_query_block(shape.sequence, [&](QueryBlock block) {
    const ConstMatrix q_rows = q.row_block(block.begin, block.count);
    const ConstMatrix k_rows = k.row_block(0, block.num_keys);
    const ConstMatrix dout_rows = dout.row_block(block.begin, block.count);
    const Matrix scores = matrix_of(room.scores.data(), block.count, block.num_keys);
    const Matrix dprobabilities = matrix_of(room.dprobabilities.data(), block.count, block.num_keys);
    const Matrix probabilities = matrix_of(room.probabilities.data(), block.count, block.num_keys);
    const Matrix dscores = matrix_of(room.dscores.data(), block.count, block.num_keys);
    gemm.run({.a = q_rows, .b = k_rows, .c = scores, .transpose_b = true});
    gemm.run({.a = dout_rows, .b = v.row_block(0, block.num_keys), .c = dprobabilities, .transpose_b = true});
    for (std::int64_t row = 0; row < block.count; ++row) {
      softmax_backward_row(scores.row<float>(row), dprobabilities.row<float>(row), scale,
                           *logsumexp.row<float>(block.begin + row), block.begin + row + 1, block.num_keys,
                           probabilities.template row<T>(row), dscores.template row<T>(row));
    }
    gemm.run({.a = dscores, .b = k_rows, .c = dq.row_block(block.begin, block.count)});
    gemm.run({.a = probabilities,
              .b = dout_rows,
              .c = matrix_of(room.dv.data(), block.num_keys, shape.head_dim),
              .transpose_a = true,
              .accumulate = true});
    gemm.run({.a = dscores,
              .b = q_rows,
              .c = matrix_of(room.dk.data(), block.num_keys, shape.head_dim),
              .transpose_a = true,
              .accumulate = true});
  });
}

void check_shapes(const AttentionShape& shape, ConstMatrix qkv, ConstMatrix out, ConstMatrix logsumexp) {
  CHECK(shape.num_kv_heads > 0 && shape.num_q_heads % shape.num_kv_heads == 0, shape.num_q_heads, shape.num_kv_heads);
  CHECK(shape.sequence > 0 && qkv.rows % shape.sequence == 0, qkv.rows, shape.sequence);
  CHECK(qkv.cols == shape.qkv_width() && out.cols == shape.out_width(), qkv.cols, out.cols);
  CHECK(out.rows == qkv.rows && out.dtype == qkv.dtype, out.rows, qkv.rows, name_of(out.dtype), name_of(qkv.dtype));
  CHECK(logsumexp.rows == qkv.rows && logsumexp.cols == shape.num_q_heads && logsumexp.dtype == DType::f32,
        logsumexp.rows, logsumexp.cols, name_of(logsumexp.dtype));
}

}  // namespace

void attention_forward(const Gemm& gemm, const AttentionShape& shape, ConstMatrix qkv, Matrix out, Matrix logsumexp) {
  check_shapes(shape, qkv, out, logsumexp);
  const std::int64_t group = shape.num_q_heads / shape.num_kv_heads;
  with_element(qkv.dtype, [&]<class T>(T) {
    for (std::int64_t begin = 0; begin < qkv.rows; begin += shape.sequence) {
      const Heads<ConstMatrix> heads{qkv.row_block(begin, shape.sequence), shape};
      const Matrix out_rows = out.row_block(begin, shape.sequence);
      const Matrix logsumexp_rows = logsumexp.row_block(begin, shape.sequence);
      for (std::int64_t head = 0; head < shape.num_q_heads; ++head) {
        forward_head<T>(gemm, shape, heads.q(head), heads.k(head / group), heads.v(head / group),
                        out_rows.col_block(head * shape.head_dim, shape.head_dim), logsumexp_rows.col_block(head, 1));
      }
    }
  });
}

void attention_backward(const Gemm& gemm, const AttentionShape& shape, ConstMatrix qkv, ConstMatrix logsumexp,
                        ConstMatrix dout, Matrix dqkv) {
  check_shapes(shape, qkv, dout, logsumexp);
  check_shapes(shape, dqkv, dout, logsumexp);
  const std::int64_t group = shape.num_q_heads / shape.num_kv_heads;
  with_element(qkv.dtype, [&]<class T>(T) {
    BlockRoom<T>& room = BlockRoom<T>::of(shape);
    for (std::int64_t begin = 0; begin < qkv.rows; begin += shape.sequence) {
      const Heads<ConstMatrix> heads{qkv.row_block(begin, shape.sequence), shape};
      const Heads<Matrix> gradients{dqkv.row_block(begin, shape.sequence), shape};
      const ConstMatrix dout_rows = dout.row_block(begin, shape.sequence);
      const ConstMatrix logsumexp_rows = logsumexp.row_block(begin, shape.sequence);
      for (std::int64_t kv_head = 0; kv_head < shape.num_kv_heads; ++kv_head) {
        std::fill(room.dk.begin(), room.dk.end(), 0.0F);
        std::fill(room.dv.begin(), room.dv.end(), 0.0F);
        for (std::int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
          backward_head<T>(gemm, shape, heads.q(head), heads.k(kv_head), heads.v(kv_head),
                           logsumexp_rows.col_block(head, 1),
                           dout_rows.col_block(head * shape.head_dim, shape.head_dim), gradients.q(head));
        }
        convert(matrix_of(room.dk.data(), shape.sequence, shape.head_dim), gradients.k(kv_head));
        convert(matrix_of(room.dv.data(), shape.sequence, shape.head_dim), gradients.v(kv_head));
      }
    }
  });
}

}  // namespace orrery::executor
