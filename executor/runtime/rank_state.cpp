// SPDX-License-Identifier: Apache-2.0
#include "executor/runtime/rank_state.h"

#include "base/check.h"
#include "executor/kernels/elementwise.h"
#include "executor/kernels/rms_norm.h"
#include "executor/kernels/swiglu.h"

#include <algorithm>

namespace orrery::executor {

RankState::RankState(const StepProgram& the_program, RankId rank, ShmEndpoint& endpoint,
                     const TrainingSettings& the_settings)
    : program(the_program),
      rank_class(the_program.class_of(rank)),
      view(the_program.view(rank)),
      settings(the_settings),
      gemm(choose_gemm(the_settings.gemm)),
      weights(the_program, rank, the_settings),
      tensors(rank_class),
      groups(the_program, rank, endpoint),
      corpus(the_settings.corpus, the_program.model.vocab, the_program.batch.seq, the_settings.seed) {
  const auto* gqa = std::get_if<GroupedQueryAttention>(&program.model.attention);
  CHECK(gqa != nullptr, program.model.name);
  rope.emplace(program.batch.seq, gqa->head_dim, program.model.rope_theta);
}

TensorIndex OpCall::index(TensorRole role) const {
  for (const TensorUse& use : uses) {
    if (rank.rank_class.tensors[use.tensor()].role == role) return use.tensor();
  }
  CHECK(false, key, name_of(role));
}

bool OpCall::uses_role(TensorRole role) const {
  return std::any_of(uses.begin(), uses.end(),
                     [&](const TensorUse& use) { return rank.rank_class.tensors[use.tensor()].role == role; });
}

namespace {

/// Calls f(first row, rows) for each sequence of a micro-batch.
template <class F>
void for_each_sequence(std::int64_t rows, std::int64_t seq, F&& f) {
  for (std::int64_t first = 0; first < rows; first += seq) f(first, seq);
}

}  // namespace

void run_linear(OpCall& call, WeightRole role, TensorRole x, TensorRole y, TensorRole dx, TensorRole dy, bool adds) {
  RankState& rank = call.rank;
  if (call.is_wgrad()) {
    linear_wgrad(rank.gemm, call.tensor(dy), call.tensor(x), rank.weights.gradient(role, call.layer()));
    return;
  }
  const ConstMatrix weight = rank.weights.weight(role, call.layer());
  if (call.is_forward()) {
    const Matrix in = call.tensor(x), out = call.tensor(y);
    for_each_sequence(in.rows, rank.seq(), [&](std::int64_t first, std::int64_t count) {
      linear_forward(rank.gemm, in.row_block(first, count), weight, out.row_block(first, count));
    });
    return;
  }
  const Matrix in = call.tensor(dy), out = call.tensor(dx);
  // A bf16 product cannot add by itself.
  thread_local std::vector<std::byte> scratch;
  const Matrix product = adds ? scratch_like(out, scratch) : out;
  for_each_sequence(in.rows, rank.seq(), [&](std::int64_t first, std::int64_t count) {
    linear_igrad(rank.gemm, in.row_block(first, count), weight, product.row_block(first, count));
  });
  if (adds) add(out, product, out);
}

void run_norm(OpCall& call, WeightRole role, TensorRole x, TensorRole y, TensorRole dx, TensorRole dy,
              std::optional<TensorRole> passing) {
  RankState& rank = call.rank;
  const ConstMatrix gamma = rank.weights.weight(role, call.layer());
  const auto epsilon = static_cast<float>(rank.model().norm_eps);
  if (call.is_forward()) {
    rms_norm_forward(call.tensor(x), gamma, epsilon, call.tensor(y));
    return;
  }
  rms_norm_backward(call.tensor(x), gamma, epsilon, call.tensor(dy), call.tensor(dx),
                    rank.weights.gradient_vector(role, call.layer()));
  if (passing) add(call.tensor(dx), call.tensor(*passing), call.tensor(dx));
}

void run_swiglu(OpCall& call, TensorRole gate_up, TensorRole out, TensorRole d_gate_up, TensorRole d_out) {
  if (call.is_forward()) {
    swiglu_forward(call.tensor(gate_up), {}, call.tensor(out));
  } else {
    swiglu_backward(call.tensor(gate_up), {}, call.tensor(d_out), call.tensor(d_gate_up), {});
  }
}

}  // namespace orrery::executor
