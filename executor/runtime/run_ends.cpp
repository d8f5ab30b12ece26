// SPDX-License-Identifier: Apache-2.0
#include "base/check.h"
#include "executor/kernels/elementwise.h"
#include "executor/kernels/embedding.h"
#include "executor/runtime/rank_state.h"

#include <vector>

namespace orrery::executor {
namespace {

using R = TensorRole;
using W = WeightRole;

/// Fills tokens or labels of the call's micro-batch. Micro-batch i of data-parallel rank d has the sequences
/// d * (m * b) + i * b ... of the step's batch (m micro-batches of b sequences): consecutive for one rank, so that one
/// rank with all of them sees the same order.
void load_sequences(const OpCall& call, std::span<std::int64_t> tokens, std::span<std::int64_t> labels) {
  const RankState& rank = call.rank;
  const std::int64_t per_micro_batch = rank.program.strategy.micro_batch, seq = rank.seq();
  const std::int64_t per_rank = rank.program.num_micro_batches * per_micro_batch;
  const std::int64_t first = rank.step * rank.program.batch.global_batch + rank.view.coords.dp * per_rank +
                             call.op.key.micro_batch * per_micro_batch;
  for (std::int64_t i = 0; i < per_micro_batch; ++i) {
    const auto begin = static_cast<std::size_t>(i * seq), size = static_cast<std::size_t>(seq);
    rank.corpus.sequence(first + i, tokens.subspan(begin, size), labels.subspan(begin, size));
  }
}

std::vector<std::int32_t> narrowed(std::span<const std::int64_t> ids) { return {ids.begin(), ids.end()}; }

void run_lookup(OpCall& call) {
  const std::span<std::int64_t> tokens = call.elements<std::int64_t>(R::tokens);
  if (call.is_wgrad()) {
    embedding_backward(call.tensor(R::d_x), narrowed(tokens), call.rank.weights.gradient(W::embedding, -1));
    return;
  }
  std::vector<std::int64_t> labels(tokens.size());
  load_sequences(call, tokens, labels);
  embedding_forward(call.rank.weights.weight(W::embedding, -1), narrowed(tokens), call.tensor(R::x));
}

/// The forward keeps the logits in f32; the backward turns them into a softmax and its gradient.
void run_loss(OpCall& call) {
  const std::span<std::int64_t> labels = call.elements<std::int64_t>(R::labels);
  const double scale = 1.0 / call.rank.global_tokens();
  if (call.is_forward()) {
    std::vector<std::int64_t> tokens(labels.size());
    load_sequences(call, tokens, labels);
    convert(call.tensor(R::logits), call.tensor(R::softmax));
    call.rank.totals.loss += cross_entropy_forward(call.tensor(R::softmax), narrowed(labels)) * scale;
  } else {
    cross_entropy_backward(call.tensor(R::softmax), narrowed(labels), static_cast<float>(scale),
                           call.tensor(R::d_logits));
  }
}

}  // namespace

void run_ends(OpCall& call) {
  const OpCode op = call.op.key.op;
  if (op == OpCode::embed_lookup) {
    run_lookup(call);
  } else if (op == OpCode::head_norm) {
    run_norm(call, W::final_norm, R::x, R::head_norm, R::d_x, R::d_head_norm, std::nullopt);
  } else if (op == OpCode::head_logits) {
    run_linear(call, W::head, R::head_norm, R::logits, R::d_head_norm, R::d_logits);
  } else if (op == OpCode::head_loss) {
    run_loss(call);
  } else {
    CHECK(false, call.key);
  }
}

}  // namespace orrery::executor
