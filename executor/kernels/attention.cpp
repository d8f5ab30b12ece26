// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/attention.h"

#include "executor/kernels/dot.h"
#include "executor/kernels/element.h"
#include "executor/kernels/elementwise.h"
#include "executor/kernels/simd_math.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace orrery::executor {
namespace {

constexpr float kNothing = -std::numeric_limits<float>::infinity();

/// Per-thread room for a block of query rows against all keys, in f32 and in the storage type.
template <class T>
struct BlockRoom {
  std::vector<float> scores, dprobabilities, dk, dv;
  std::vector<T> probabilities, dscores, dq;

  static BlockRoom& of(const AttentionDims& dims, std::int64_t num_keys) {
    thread_local BlockRoom room;
    const auto block = static_cast<std::size_t>(kAttentionBlock * num_keys);
    for (auto* part : {&room.scores, &room.dprobabilities}) part->resize(block);
    room.dk.resize(static_cast<std::size_t>(num_keys * dims.d_qk));
    room.dv.resize(static_cast<std::size_t>(num_keys * dims.d_v));
    for (auto* part : {&room.probabilities, &room.dscores}) part->resize(block);
    room.dq.resize(static_cast<std::size_t>(kAttentionBlock * dims.d_qk));
    return room;
  }
};

/// Keys that a query sees: those of a sequence from `begin` to `end`.
struct Visible {
  std::int64_t begin = 0, end = 0;
};

std::vector<Visible> visible_keys(const AttentionDims& dims, const AttentionPositions& positions) {
  std::vector<Visible> visible;
  const auto index_of = [&](std::int64_t position) {  // of the first key there or behind it
    return std::lower_bound(positions.keys.begin(), positions.keys.end(), position) - positions.keys.begin();
  };
  for (const std::int64_t query : positions.queries) {
    std::int64_t first = 0;
    if (dims.window > 0) first = dims.chunked ? query / dims.window * dims.window : query - dims.window + 1;
    visible.push_back({index_of(first), std::max(index_of(first), index_of(query + 1))});
  }
  return visible;
}

/// Query rows `begin` .. `begin + count` see keys `first_key` .. `first_key + num_keys` at most.
struct QueryBlock {
  std::int64_t begin, count, first_key, num_keys;
};

template <class Work>
void for_each_query_block(std::span<const Visible> visible, Work&& work) {
  const auto num_queries = static_cast<std::int64_t>(visible.size());
  for (std::int64_t begin = 0; begin < num_queries; begin += kAttentionBlock) {
    const std::int64_t count = std::min(kAttentionBlock, num_queries - begin);
    // Positions ascend, and so do the keys that are seen.
    const std::int64_t first = visible[static_cast<std::size_t>(begin)].begin;
    const std::int64_t end = visible[static_cast<std::size_t>(begin + count - 1)].end;
    work(QueryBlock{begin, count, first, end - first});
  }
}

/// Softmax of scale * score over the entries from `begin` to `end`, joined by a sink (kNothing: none); the others,
/// which are masked, become zero. Returns the logsumexp of the scaled scores. Writes e^(score - largest) over the
/// scores on the way.
template <class T>
float softmax_row(float* score, float scale, float sink, Visible seen, std::int64_t num_keys, T* probability) {
  std::fill(probability, probability + seen.begin, static_cast<T>(0.0F));
  std::fill(probability + seen.end, probability + num_keys, static_cast<T>(0.0F));
  if (seen.begin == seen.end && sink == kNothing) return kNothing;
  score += seen.begin;
  probability += seen.begin;
  const std::int64_t size = seen.end - seen.begin;
  float largest = sink / scale;
#pragma omp simd reduction(max : largest)
  for (std::int64_t i = 0; i < size; ++i) largest = std::max(largest, score[i]);
  float sum = sink == kNothing ? 0.0F : vector_exp(sink - largest * scale);
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < size; ++i) {
    score[i] = vector_exp((score[i] - largest) * scale);
    sum += score[i];
  }
  const float normalizer = 1.0F / sum;
#pragma omp simd
  for (std::int64_t i = 0; i < size; ++i) probability[i] = score[i] * normalizer;
  return largest * scale + std::log(sum);
}

/// From a row of scores and of dout v^T: the probabilities p again, and the gradient of the unscaled scores,
/// scale * p * (dp - mean), where mean = sum(p dp) over all keys.
template <class T>
void softmax_backward_row(const float* score, const float* dprobability, float scale, float logsumexp, float mean,
                          Visible seen, std::int64_t num_keys, T* probability, T* dscore) {
  for (T* row : {probability, dscore}) {
    std::fill(row, row + seen.begin, static_cast<T>(0.0F));
    std::fill(row + seen.end, row + num_keys, static_cast<T>(0.0F));
  }
#pragma omp simd
  for (std::int64_t i = seen.begin; i < seen.end; ++i) {
    const float p = vector_exp(score[i] * scale - logsumexp);
    probability[i] = p;
    dscore[i] = scale * p * (dprobability[i] - mean);
  }
}

/// The work of one query head on one sequence.
template <class T>
struct HeadTask {
  const Gemm& gemm;
  const AttentionDims& dims;
  std::span<const Visible> visible;
  BlockRoom<T>& room;
  ConstMatrix q, k, v;

  float scale() const { return 1.0F / std::sqrt(static_cast<float>(dims.d_qk)); }
  /// Keys that a row of a block sees, counted from the first key of the block.
  Visible seen(const QueryBlock& block, std::int64_t row) const {
    const Visible& all = visible[static_cast<std::size_t>(block.begin + row)];
    return {all.begin - block.first_key, all.end - block.first_key};
  }

  void forward(float sink, Matrix out, Matrix logsumexp) {
    for_each_query_block(visible, [&](QueryBlock block) {
      const Matrix scores = matrix_of(room.scores.data(), block.count, block.num_keys);
      const Matrix probabilities = matrix_of(room.probabilities.data(), block.count, block.num_keys);
      const Matrix out_rows = out.row_block(block.begin, block.count);
      if (block.num_keys > 0) {
        gemm.run({.a = q.row_block(block.begin, block.count),
                  .b = k.row_block(block.first_key, block.num_keys),
                  .c = scores,
                  .transpose_b = true});
      }
      for (std::int64_t row = 0; row < block.count; ++row) {
        *logsumexp.row<float>(block.begin + row) = softmax_row(scores.row<float>(row), scale(), sink, seen(block, row),
                                                               block.num_keys, probabilities.template row<T>(row));
      }
      if (block.num_keys == 0) {
        fill_zero(out_rows);
      } else {
        gemm.run({.a = probabilities, .b = v.row_block(block.first_key, block.num_keys), .c = out_rows});
      }
    });
  }

  /// Adds to room.dk and room.dv, which the query heads of a group share.
  void backward(ConstMatrix out, ConstMatrix logsumexp, ConstMatrix dout, bool adds, Matrix dq) {
    for_each_query_block(visible, [&](QueryBlock block) {
      const Matrix dq_rows = dq.row_block(block.begin, block.count);
      if (block.num_keys == 0) {
        if (!adds) fill_zero(dq_rows);
        return;
      }
      const ConstMatrix q_rows = q.row_block(block.begin, block.count);
      const ConstMatrix k_rows = k.row_block(block.first_key, block.num_keys);
      const ConstMatrix dout_rows = dout.row_block(block.begin, block.count);
      const Matrix scores = matrix_of(room.scores.data(), block.count, block.num_keys);
      const Matrix dprobabilities = matrix_of(room.dprobabilities.data(), block.count, block.num_keys);
      const Matrix probabilities = matrix_of(room.probabilities.data(), block.count, block.num_keys);
      const Matrix dscores = matrix_of(room.dscores.data(), block.count, block.num_keys);
      gemm.run({.a = q_rows, .b = k_rows, .c = scores, .transpose_b = true});
      gemm.run({.a = dout_rows,
                .b = v.row_block(block.first_key, block.num_keys),
                .c = dprobabilities,
                .transpose_b = true});
      for (std::int64_t row = 0; row < block.count; ++row) {
        const std::int64_t query = block.begin + row;
        softmax_backward_row(scores.row<float>(row), dprobabilities.row<float>(row), scale(),
                             *logsumexp.row<float>(query), dot(out.row<T>(query), dout.row<T>(query), dims.d_v),
                             seen(block, row), block.num_keys, probabilities.template row<T>(row),
                             dscores.template row<T>(row));
      }
      const Matrix product = adds ? matrix_of(room.dq.data(), block.count, dims.d_qk) : dq_rows;
      gemm.run({.a = dscores, .b = k_rows, .c = product});
      if (adds) add(dq_rows, product, dq_rows);
      const auto of_keys = [&](std::vector<float>& sums, std::int64_t width) {
        return matrix_of(sums.data() + block.first_key * width, block.num_keys, width);
      };
      gemm.run({.a = probabilities,
                .b = dout_rows,
                .c = of_keys(room.dv, dims.d_v),
                .transpose_a = true,
                .accumulate = true});
      gemm.run({.a = dscores, .b = q_rows, .c = of_keys(room.dk, dims.d_qk), .transpose_a = true, .accumulate = true});
    });
  }
};

template <class View>
View head_of(const View& rows, std::int64_t first, std::int64_t count, std::int64_t head, std::int64_t width) {
  return rows.row_block(first, count).col_block(head * width, width);
}

struct Sizes {
  std::int64_t num_queries, num_keys, num_sequences;
};

Sizes sizes_of(const AttentionDims& dims, const AttentionPositions& positions, const QkvRows<ConstMatrix>& in,
               ConstMatrix out, ConstMatrix logsumexp) {
  const auto num_queries = static_cast<std::int64_t>(positions.queries.size());
  const auto num_keys = static_cast<std::int64_t>(positions.keys.size());
  CHECK(dims.num_kv_heads > 0 && dims.num_q_heads % dims.num_kv_heads == 0, dims.num_q_heads, dims.num_kv_heads);
  CHECK(num_queries > 0 && in.q.rows % num_queries == 0, in.q.rows, num_queries);
  const std::int64_t num_sequences = in.q.rows / num_queries;
  CHECK(in.k.rows == num_sequences * num_keys && in.v.rows == in.k.rows, in.k.rows, in.v.rows, num_keys);
  CHECK(in.q.cols == dims.num_q_heads * dims.d_qk && in.k.cols == dims.num_kv_heads * dims.d_qk, in.q.cols, in.k.cols);
  CHECK(in.v.cols == dims.num_kv_heads * dims.d_v && out.cols == dims.num_q_heads * dims.d_v, in.v.cols, out.cols);
  CHECK(out.rows == in.q.rows && out.dtype == in.q.dtype, out.rows, in.q.rows, name_of(out.dtype));
  CHECK(logsumexp.rows == in.q.rows && logsumexp.cols == dims.num_q_heads && logsumexp.dtype == DType::f32,
        logsumexp.rows, logsumexp.cols, name_of(logsumexp.dtype));
  return {num_queries, num_keys, num_sequences};
}

}  // namespace

void attention_forward(const Gemm& gemm, const AttentionDims& dims, const AttentionPositions& positions,
                       const QkvRows<ConstMatrix>& in, std::span<const float> sinks, Matrix out, Matrix logsumexp) {
  const Sizes n = sizes_of(dims, positions, in, out, logsumexp);
  CHECK(sinks.empty() || static_cast<std::int64_t>(sinks.size()) == dims.num_q_heads, sinks.size());
  const std::int64_t group = dims.num_q_heads / dims.num_kv_heads;
  const std::vector<Visible> visible = visible_keys(dims, positions);
  with_element(in.q.dtype, [&]<class T>(T) {
    BlockRoom<T>& room = BlockRoom<T>::of(dims, n.num_keys);
    for (std::int64_t i = 0; i < n.num_sequences; ++i) {
      const std::int64_t query = i * n.num_queries, key = i * n.num_keys;
      for (std::int64_t head = 0; head < dims.num_q_heads; ++head) {
        HeadTask<T> task{gemm,
                         dims,
                         visible,
                         room,
                         head_of(in.q, query, n.num_queries, head, dims.d_qk),
                         head_of(in.k, key, n.num_keys, head / group, dims.d_qk),
                         head_of(in.v, key, n.num_keys, head / group, dims.d_v)};
        task.forward(sinks.empty() ? kNothing : sinks[static_cast<std::size_t>(head)],
                     head_of(out, query, n.num_queries, head, dims.d_v),
                     head_of(logsumexp, query, n.num_queries, head, 1));
      }
    }
  });
}

void attention_backward(const Gemm& gemm, const AttentionDims& dims, const AttentionPositions& positions,
                        const QkvRows<ConstMatrix>& in, ConstMatrix out, ConstMatrix logsumexp, ConstMatrix dout,
                        bool adds_to_q, const QkvRows<Matrix>& gradients) {
  const Sizes n = sizes_of(dims, positions, in, out, logsumexp);
  CHECK(dout.rows == out.rows && dout.cols == out.cols && dout.dtype == out.dtype, dout.rows, dout.cols);
  const std::int64_t group = dims.num_q_heads / dims.num_kv_heads;
  const std::vector<Visible> visible = visible_keys(dims, positions);
  with_element(in.q.dtype, [&]<class T>(T) {
    BlockRoom<T>& room = BlockRoom<T>::of(dims, n.num_keys);
    for (std::int64_t i = 0; i < n.num_sequences; ++i) {
      const std::int64_t query = i * n.num_queries, key = i * n.num_keys;
      for (std::int64_t kv_head = 0; kv_head < dims.num_kv_heads; ++kv_head) {
        std::fill(room.dk.begin(), room.dk.end(), 0.0F);
        std::fill(room.dv.begin(), room.dv.end(), 0.0F);
        for (std::int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
          HeadTask<T> task{gemm,
                           dims,
                           visible,
                           room,
                           head_of(in.q, query, n.num_queries, head, dims.d_qk),
                           head_of(in.k, key, n.num_keys, kv_head, dims.d_qk),
                           head_of(in.v, key, n.num_keys, kv_head, dims.d_v)};
          task.backward(head_of(out, query, n.num_queries, head, dims.d_v),
                        head_of(logsumexp, query, n.num_queries, head, 1),
                        head_of(dout, query, n.num_queries, head, dims.d_v), adds_to_q,
                        head_of(gradients.q, query, n.num_queries, head, dims.d_qk));
        }
        convert(matrix_of(room.dk.data(), n.num_keys, dims.d_qk),
                head_of(gradients.k, key, n.num_keys, kv_head, dims.d_qk));
        convert(matrix_of(room.dv.data(), n.num_keys, dims.d_v),
                head_of(gradients.v, key, n.num_keys, kv_head, dims.d_v));
      }
    }
  });
}

void attention_sink_backward(std::span<const float> sinks, ConstMatrix out, ConstMatrix logsumexp, ConstMatrix dout,
                             std::span<float> dsinks) {
  const auto num_heads = static_cast<std::int64_t>(sinks.size());
  CHECK(logsumexp.cols == num_heads && dsinks.size() == sinks.size(), logsumexp.cols, sinks.size(), dsinks.size());
  const std::int64_t width = out.cols / num_heads;
  with_element(out.dtype, [&]<class T>(T) {
    for (std::int64_t row = 0; row < out.rows; ++row) {
      for (std::int64_t head = 0; head < num_heads; ++head) {
        const auto h = static_cast<std::size_t>(head);
        const float share = vector_exp(sinks[h] - logsumexp.row<float>(row)[head]);
        dsinks[h] -= share * dot(out.row<T>(row) + head * width, dout.row<T>(row) + head * width, width);
      }
    }
  });
}

void merge_attention(ConstMatrix part, ConstMatrix part_logsumexp, Matrix out, Matrix logsumexp) {
  CHECK(part.rows == out.rows && part.cols == out.cols && part.dtype == out.dtype, part.rows, part.cols, out.rows);
  CHECK(part_logsumexp.rows == logsumexp.rows && part_logsumexp.cols == logsumexp.cols, part_logsumexp.rows);
  const std::int64_t width = out.cols / logsumexp.cols;
  with_element(out.dtype, [&]<class T>(T) {
    for (std::int64_t row = 0; row < out.rows; ++row) {
      for (std::int64_t head = 0; head < logsumexp.cols; ++head) {
        float& mine = logsumexp.row<float>(row)[head];
        const float other = part_logsumexp.row<float>(row)[head];
        if (other == kNothing) continue;
        const float largest = std::max(mine, other);
        const float sum = largest + std::log(std::exp(mine - largest) + std::exp(other - largest));
        const float keep = std::exp(mine - sum), take = std::exp(other - sum);
        T* result = out.row<T>(row) + head * width;
        const T* term = part.row<T>(row) + head * width;
#pragma omp simd
        for (std::int64_t i = 0; i < width; ++i) {
          result[i] = keep * static_cast<float>(result[i]) + take * static_cast<float>(term[i]);
        }
        mine = sum;
      }
    }
  });
}

}  // namespace orrery::executor
