// SPDX-License-Identifier: Apache-2.0
#include "executor/runtime/run_ends.h"

#include "base/check.h"
#include "executor/kernels/embedding.h"
#include "executor/kernels/rms_norm.h"
#include "executor/runtime/run_layers.h"

#include <vector>

namespace orrery::executor {
namespace {

using R = TensorRole;
using W = WeightRole;

/// Tokens of the call's micro-batch, and those that follow them, as far as this rank has them; `ahead` positions
/// further on in the text. Micro-batch i of data-parallel rank d has the sequences d * (m * b) + i * b ... of the
/// step's batch (m micro-batches of b sequences): consecutive for one rank, so that one rank with all of them sees the
/// same order.
struct Text {
  std::vector<std::int64_t> tokens, labels;
};

Text text_of(const OpCall& call, std::int64_t ahead = 0) {
  const RankState& rank = call.rank;
  const std::int64_t per_micro_batch = call.num_sequences();
  const std::int64_t per_rank = rank.program.num_micro_batches * per_micro_batch;
  const std::int64_t first = rank.step * rank.program.batch.global_batch + rank.view.coords.dp * per_rank +
                             call.op.key.micro_batch * per_micro_batch;
  Text text;
  std::vector<std::int64_t> tokens(static_cast<std::size_t>(rank.seq() + ahead)), labels(tokens.size());
  for (std::int64_t i = 0; i < per_micro_batch; ++i) {
    rank.corpus.sequence(first + i, tokens, labels);
    for (const std::int64_t position : rank.positions) {
      text.tokens.push_back(tokens[static_cast<std::size_t>(position + ahead)]);
      text.labels.push_back(labels[static_cast<std::size_t>(position + ahead)]);
    }
  }
  return text;
}

/// How many tokens further on an op of prediction module i is: i + 1.
std::int64_t tokens_ahead(const OpCall& call) {
  const std::int64_t module = call.layer() - call.rank.model().num_layers();
  return module < 0 ? 0 : module + 1;
}

std::vector<std::int32_t> narrowed(std::span<const std::int64_t> ids) { return {ids.begin(), ids.end()}; }

VocabularyPart vocabulary_of(const OpCall& call) {
  const std::int64_t size = call.rank.model().vocab / call.rank.strategy().tp;
  return {.first = call.rank.view.coords.tp * size, .size = size, .total = call.rank.model().vocab};
}

void look_up(OpCall& call, std::int64_t ahead) {
  const std::span<std::int64_t> tokens = call.elements<std::int64_t>(call.layer() < 0 ? R::tokens : R::mtp_tokens);
  if (call.is_wgrad()) {
    call.accumulate(W::embedding, [&](Matrix sum, const RowPart& part) {
      embedding_backward(part.of(call.operand(-1)), vocabulary_of(call), narrowed(part.of(tokens)), sum);
    });
    return;
  }
  const Text text = text_of(call, ahead);
  std::copy(text.tokens.begin(), text.tokens.end(), tokens.begin());
  embedding_forward(call.weight(W::embedding), vocabulary_of(call), narrowed(tokens), call.operand(-1));
}

/// Of the sum over the rows of one head: the mean over the tokens of the step. Modules of multi-token prediction
/// together weigh kMtpWeight. Source: DeepSeek-V3 (arXiv 2412.19437), eq. 25 and section 4.2 (0.3, later 0.1).
double loss_scale(const OpCall& call) {
  constexpr double kMtpWeight = 0.3;
  const double mean = 1.0 / call.rank.global_tokens();
  return tokens_ahead(call) == 0 ? mean : mean * kMtpWeight / static_cast<double>(call.rank.model().num_mtp_modules);
}

void add_loss(OpCall& call, double sum) {
  // All ranks of a TP group see the same rows.
  if (call.rank.view.coords.tp == 0) call.rank.totals.add_loss(sum * loss_scale(call));
}

}  // namespace

void run_lookup(OpCall& call) { look_up(call, 0); }

void run_head_norm(OpCall& call) { run_norm(call, call.layer() >= 0 ? W::mtp_final_norm : W::final_norm); }

void run_head_max(OpCall& call) { largest_logits(call.operand(0), call.operand(-1)); }

/// The forward keeps the logits in f32; the backward turns them into a softmax and its gradient. Over parts of the
/// vocabulary it keeps their logarithms of the softmax.
void run_loss(OpCall& call) {
  const std::span<std::int64_t> labels = call.elements<std::int64_t>(R::labels);
  const bool is_part = call.rank.strategy().tp > 1;
  if (call.is_forward()) {
    const Text text = text_of(call, tokens_ahead(call));
    std::copy(text.labels.begin(), text.labels.end(), labels.begin());
    if (is_part) {
      shift_logits(call.tensor(R::logits), call.tensor(R::logits_max), call.tensor(R::softmax));
    } else {
      convert(call.tensor(R::logits), call.tensor(R::softmax));
      // Sequence by sequence: what is added up in whole numbers shall not depend on how many a micro-batch has.
      for (std::int64_t i = 0; i < call.num_sequences(); ++i) {
        const RowPart sequence{i, call.num_sequences()};
        add_loss(call, cross_entropy_forward(sequence.of(call.tensor(R::softmax)), narrowed(sequence.of(labels))));
      }
    }
    return;
  }
  const auto scale = static_cast<float>(loss_scale(call));
  if (is_part) {
    cross_entropy_backward_part(call.tensor(R::softmax), vocabulary_of(call), narrowed(labels), scale,
                                call.tensor(R::d_logits));
  } else {
    cross_entropy_backward(call.tensor(R::softmax), narrowed(labels), scale, call.tensor(R::d_logits));
  }
}

void run_loss_sum(OpCall& call) {
  const Matrix shifted = call.operand(0);
  const Text text = text_of(call, tokens_ahead(call));
  std::vector<float> sums(static_cast<std::size_t>(2 * shifted.rows));
  cross_entropy_part(shifted, vocabulary_of(call), narrowed(text.labels), sums);
  call.report = call.group().all_reduce(std::span(sums), call.key);
  add_loss(call, cross_entropy_finish(sums, shifted));
}

void run_mtp_lookup(OpCall& call) { look_up(call, tokens_ahead(call)); }

/// Norms of the hidden states and of the embedding, side by side: [embedding | hidden].
void run_mtp_norm(OpCall& call) {
  const auto epsilon = static_cast<float>(call.rank.model().norm_eps);
  const std::int64_t h = call.rank.model().hidden;
  const Matrix hidden = call.operand(0), embedding = call.operand(1);
  const auto halves = [&](const Matrix& pair) { return std::pair(pair.col_block(0, h), pair.col_block(h, h)); };
  if (call.is_forward()) {
    const auto [left, right] = halves(call.operand(-1));
    rms_norm_forward(embedding, call.weight(W::mtp_embedding_norm), epsilon, left);
    rms_norm_forward(hidden, call.weight(W::mtp_hidden_norm), epsilon, right);
    return;
  }
  const auto [left, right] = halves(call.operand(2));
  thread_local std::vector<std::byte> scratch;
  const Matrix d_hidden = call.operand(3), d_embedding = call.operand(-1);
  const bool adds = call.use(3).access() == Access::modify;
  const Matrix dx = adds ? scratch_like(d_hidden, scratch) : d_hidden;
  call.accumulate_vector(W::mtp_embedding_norm, [&, left = left](std::span<float> sum, const RowPart& part) {
    rms_norm_backward(part.of(embedding), call.weight(W::mtp_embedding_norm), epsilon, part.of(left),
                      part.of(d_embedding), sum);
  });
  call.accumulate_vector(W::mtp_hidden_norm, [&, right = right](std::span<float> sum, const RowPart& part) {
    rms_norm_backward(part.of(hidden), call.weight(W::mtp_hidden_norm), epsilon, part.of(right), part.of(dx), sum);
  });
  if (adds) add(d_hidden, dx, d_hidden);
}

}  // namespace orrery::executor
