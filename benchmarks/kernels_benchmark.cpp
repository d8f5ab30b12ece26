// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/adamw.h"
#include "executor/kernels/attention.h"
#include "executor/kernels/embedding.h"
#include "executor/kernels/grouped_gemm.h"
#include "executor/kernels/initialize.h"
#include "executor/kernels/permute.h"
#include "executor/kernels/rms_norm.h"
#include "executor/kernels/rope.h"
#include "executor/kernels/router.h"
#include "executor/kernels/square_sum.h"
#include "executor/kernels/swiglu.h"

#include <numeric>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

// Every kernel at the size of a model that trains on a CPU, on one thread, as on a rank with one core. What to look at
// is the share of the GEMMs: the other kernels of a layer should be small beside them.

namespace orrery::executor {
namespace {

constexpr std::int64_t kSequence = 256;
constexpr std::int64_t kHidden = 256;
constexpr std::int64_t kWidth = 512;  // of the feed-forward block
constexpr std::int64_t kExperts = 8;
constexpr std::int64_t kTopK = 2;

/// A matrix of random numbers that owns its memory.
class Random {
 public:
  Random(std::int64_t rows, std::int64_t cols, DType dtype)
      : memory_(static_cast<std::size_t>(rows * cols * size_of(dtype))) {
    view_ = {memory_.data(), dtype, rows, cols, cols};
    initialize_normal(1, "benchmark", 0, 1.0F, view_);
  }
  operator Matrix() const { return view_; }       // NOLINT(google-explicit-constructor): kernels take views
  operator ConstMatrix() const { return view_; }  // NOLINT(google-explicit-constructor)

 private:
  std::vector<std::byte> memory_;
  Matrix view_;
};

DType dtype_of(const benchmark::State& state) { return state.range(0) == 0 ? DType::f32 : DType::bf16; }

void count_flops(benchmark::State& state, double flops) {
  state.counters["flop/s"] = benchmark::Counter(flops, benchmark::Counter::kIsIterationInvariantRate);
}

void linear(benchmark::State& state, const Gemm& gemm, std::int64_t num_outputs, std::int64_t num_inputs) {
  set_num_threads(1);
  const Random x(kSequence, num_inputs, dtype_of(state));
  const Random w(num_outputs, num_inputs, dtype_of(state));
  const Random y(kSequence, num_outputs, dtype_of(state));
  const Random dx(kSequence, num_inputs, dtype_of(state));
  const Random dw(num_outputs, num_inputs, DType::f32);
  for (auto _ : state) {
    linear_forward(gemm, x, w, y);
    linear_igrad(gemm, y, w, dx);
    linear_wgrad(gemm, y, x, dw);
  }
  count_flops(state, 6.0 * static_cast<double>(kSequence * num_outputs * num_inputs));
}

const bool kRegistered = [] {
  for (const Gemm* gemm : available_gemms()) {
    if (gemm->name == "reference") continue;
    const std::string name = "linear_" + std::string(gemm->name);
    benchmark::RegisterBenchmark(name.c_str(), linear, *gemm, 2 * kWidth, kHidden)->Arg(0)->Arg(1);
  }
  return true;
}();

void grouped(benchmark::State& state) {
  set_num_threads(1);
  const std::vector<std::int64_t> offsets = {0, 61, 130, 171, 240, 320, 377, 450, kSequence * kTopK};
  const Random x(kSequence * kTopK, kHidden, dtype_of(state));
  const Random w(kExperts * 2 * kWidth, kHidden, dtype_of(state));
  const Random y(kSequence * kTopK, 2 * kWidth, dtype_of(state));
  const Random dx(kSequence * kTopK, kHidden, dtype_of(state));
  const Random dw(kExperts * 2 * kWidth, kHidden, DType::f32);
  for (auto _ : state) {
    grouped_forward(choose_gemm(), x, w, offsets, y);
    grouped_igrad(choose_gemm(), y, w, offsets, dx);
    grouped_wgrad(choose_gemm(), y, x, offsets, dw);
  }
  count_flops(state, 6.0 * static_cast<double>(kSequence * kTopK * 2 * kWidth * kHidden));
}
BENCHMARK(grouped)->Arg(0)->Arg(1);

/// Of a whole sequence.
std::vector<std::int64_t> positions() {
  std::vector<std::int64_t> all(kSequence);
  std::iota(all.begin(), all.end(), 0);
  return all;
}

void attention(benchmark::State& state) {
  set_num_threads(1);
  const AttentionDims dims{.num_q_heads = 4, .num_kv_heads = 2, .d_qk = 64, .d_v = 64};
  const std::int64_t q = 4 * 64, kv = 2 * 64;
  const Random qkv(kSequence, q + 2 * kv, dtype_of(state)), dqkv(kSequence, q + 2 * kv, dtype_of(state));
  const Random out(kSequence, q, dtype_of(state)), logsumexp(kSequence, 4, DType::f32);
  const Matrix rows = qkv, gradients = dqkv;
  const QkvRows<ConstMatrix> in{rows.col_block(0, q), rows.col_block(q, kv), rows.col_block(q + kv, kv)};
  const QkvRows<Matrix> back{gradients.col_block(0, q), gradients.col_block(q, kv), gradients.col_block(q + kv, kv)};
  const std::vector<std::int64_t> all = positions();
  for (auto _ : state) {
    attention_forward(choose_gemm(), dims, {all, all}, in, {}, out, logsumexp);
    attention_backward(choose_gemm(), dims, {all, all}, in, out, logsumexp, out, false, back);
  }
  count_flops(state, 14.0 * static_cast<double>(kSequence * kSequence * q) / 2.0);
}
BENCHMARK(attention)->Arg(0)->Arg(1);

void rms_norm(benchmark::State& state) {
  const Random x(kSequence, kHidden, dtype_of(state));
  const Random gamma(1, kHidden, dtype_of(state));
  const Random y(kSequence, kHidden, dtype_of(state));
  const Random dx(kSequence, kHidden, dtype_of(state));
  std::vector<float> dgamma(kHidden);
  for (auto _ : state) {
    rms_norm_forward(x, gamma, 1e-5F, y);
    rms_norm_backward(x, gamma, 1e-5F, y, dx, dgamma);
  }
}
BENCHMARK(rms_norm)->Arg(0)->Arg(1);

void rope(benchmark::State& state) {
  const RopeTable table(kSequence, 64, 10000.0);
  const Random qkv(kSequence, 2 * kHidden, dtype_of(state));
  const std::vector<std::int64_t> all = positions();
  const RopeHeads heads{.num_heads = 6, .stride = 64};
  for (auto _ : state) {
    rope_forward(table, all, heads, qkv);
    rope_backward(table, all, heads, qkv);
  }
}
BENCHMARK(rope)->Arg(0)->Arg(1);

void swiglu(benchmark::State& state) {
  const Random gate_up(kSequence * kTopK, 2 * kWidth, dtype_of(state));
  const Random dgate_up(kSequence * kTopK, 2 * kWidth, dtype_of(state));
  const Random out(kSequence * kTopK, kWidth, dtype_of(state));
  const std::vector<float> probability(kSequence * kTopK, 0.5F);
  std::vector<float> dprobability(probability.size());
  for (auto _ : state) {
    swiglu_forward(gate_up, probability, out);
    swiglu_backward(gate_up, probability, out, dgate_up, dprobability);
  }
}
BENCHMARK(swiglu)->Arg(0)->Arg(1);

void router_and_permutation(benchmark::State& state) {
  const RouterShape shape{.num_experts = kExperts, .top_k = kTopK, .normalize_top_k = true};
  const Random x(kSequence, kHidden, dtype_of(state));
  const Random w(kExperts, kHidden, DType::f32);
  const Random scores(kSequence, kExperts, DType::f32);
  const Random dlogits(kSequence, kExperts, DType::f32);
  const Random sent(kSequence * kTopK, kHidden, dtype_of(state));
  const Random combined(kSequence, kHidden, dtype_of(state));
  std::vector<std::int32_t> chosen(kSequence * kTopK);
  std::vector<float> probability(chosen.size());
  std::vector<std::int64_t> counts(kExperts), slots(chosen.size());
  for (auto _ : state) {
    router_scores(choose_gemm(), shape, x, w, {}, kSequence, scores);
    router_choose(shape, scores, {}, chosen, probability);
    send_slots(chosen, counts, slots);
    scatter_rows(x, slots, sent);
    combine_rows(sent, slots, combined);
    router_backward(shape, scores, chosen, probability, {}, dlogits);
  }
}
BENCHMARK(router_and_permutation)->Arg(0)->Arg(1);

void cross_entropy(benchmark::State& state) {
  const Random logits(kSequence, 256, DType::f32);
  const Random dlogits(kSequence, 256, dtype_of(state));
  std::vector<std::int32_t> targets(kSequence);
  std::iota(targets.begin(), targets.end(), 0);
  for (auto _ : state) {
    benchmark::DoNotOptimize(cross_entropy_forward(logits, targets));
    cross_entropy_backward(logits, targets, 1.0F, dlogits);
  }
}
BENCHMARK(cross_entropy)->Arg(0)->Arg(1);

constexpr std::int64_t kParameters = 1 << 20;

void adamw(benchmark::State& state) {
  const Random model(1, kParameters, dtype_of(state));
  std::vector<float> gradient(kParameters, 1e-3F), m(kParameters), v(kParameters), master(kParameters);
  for (auto _ : state) adamw_update({}, 1, 1.0F, gradient, m, v, master, model);
}
BENCHMARK(adamw)->Arg(0)->Arg(1);

void square_sum(benchmark::State& state) {
  const Random gradient(1, kParameters, DType::f32);
  for (auto _ : state) {
    SquareSum sum;
    sum.add(row_span<float>(gradient, 0));
    benchmark::DoNotOptimize(sum.value());
  }
}
BENCHMARK(square_sum);

}  // namespace
}  // namespace orrery::executor
