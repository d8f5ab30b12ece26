// SPDX-License-Identifier: Apache-2.0
#include "check.h"
#include "measurements.h"

#include <array>
#include <memory>
#include <vector>

namespace gpu_points {
namespace {

struct Layer {
  std::int64_t n, k;
};

// Columns of layers of published models and their shards under tensor parallelism.
constexpr std::array<Layer, 26> kLayers = {{
    {6144, 4096},   {4096, 4096},  {28672, 4096},  {4096, 14336},  // Llama 3 8B
    {10240, 8192},  {8192, 8192},  {57344, 8192},  {8192, 28672},  // Llama 3 70B
    {1280, 8192},   {8192, 1024},  {7168, 8192},   {8192, 3584},   // the same, 8 shards
    {1536, 7168},   {24576, 1536}, {576, 7168},    {32768, 512},   // DeepSeek-V3: latent attention
    {7168, 16384},  {4096, 7168},  {7168, 2048},   {256, 7168},    // its output, shared expert, router
    {5120, 2048},   {2048, 4096},  {12288, 12288}, {2048, 2048},   // Qwen3-30B, GPT-3
    {128256, 4096}, {16032, 8192},                                 // heads, whole and an eighth
}};
constexpr std::array<std::int64_t, 5> kRows = {1024, 2048, 4096, 8192, 16384};
constexpr std::array<Layer, 10> kLayersOfFp8 = {{{4096, 4096},
                                                 {28672, 4096},
                                                 {4096, 14336},
                                                 {8192, 8192},
                                                 {1536, 7168},
                                                 {24576, 1536},
                                                 {7168, 16384},
                                                 {4096, 7168},
                                                 {7168, 2048},
                                                 {2048, 2048}}};
constexpr std::array<Pass, 3> kPasses = {Pass::fwd, Pass::igrad, Pass::wgrad};

std::string json(const Shape& s) {
  return "\"m\": " + std::to_string(s.m) + ", \"n\": " + std::to_string(s.n) + ", \"k\": " + std::to_string(s.k);
}

void measure(Bench& bench, Pass pass, Type type, const Shape& shape) {
  const Product product(bench.handle, pass, type, shape);
  if (product.missing()) {
    bench.report.text("missing", std::string(name_of(type)) + " " + name_of(pass), shape.m == 0 ? "" : "no kernel");
    return;
  }
  Operands& in = type == Type::bf16 ? bench.bf16 : bench.fp8;
  const Sample sample = bench.timer.time([&](int) {
    const void* a = in.next(product.a_bytes());
    const void* b = in.next(product.b_bytes());
    product.run(a, b, bench.results.next(product.d_bytes()), bench.workspaces[0], bench.timer.stream());
  });
  bench.report.point("gemm", name_of(pass), name_of(type), json(shape), sample);
}

}  // namespace

void heat(Bench& bench, double seconds) {
  const Shape shape{8192, 8192, 8192};
  const Product product(bench.handle, Pass::fwd, Type::bf16, shape);
  const int calls = static_cast<int>(seconds / 1.6e-3);
  for (int i = 0; i < calls; ++i) {
    const void* a = bench.bf16.next(product.a_bytes());
    const void* b = bench.bf16.next(product.b_bytes());
    product.run(a, b, bench.results.next(product.d_bytes()), bench.workspaces[0], bench.timer.stream());
  }
  check(cudaStreamSynchronize(bench.timer.stream()), "heating");
}

void measure_products(Bench& bench) {
  for (const Layer& layer : kLayers) {
    for (const std::int64_t rows : kRows) {
      for (const Pass pass : kPasses) measure(bench, pass, Type::bf16, {rows, layer.n, layer.k});
    }
  }
  for (const Type type : {Type::fp8, Type::fp8_blocks}) {
    for (const Layer& layer : kLayersOfFp8) {
      for (const std::int64_t rows : {2048, 4096, 8192}) {
        for (const Pass pass : kPasses) measure(bench, pass, type, {rows, layer.n, layer.k});
      }
    }
  }
}

void measure_grouped_products(Bench& bench) {
  // n and k of the experts of Mixtral 8x7B, DeepSeek-V3, Qwen3-235B and 30B, gate and up joined.
  constexpr std::array<Layer, 8> experts = {{{28672, 4096},
                                             {4096, 14336},
                                             {4096, 7168},
                                             {7168, 2048},
                                             {3072, 4096},
                                             {4096, 1536},
                                             {1536, 2048},
                                             {2048, 768}}};
  cudaStream_t streams[4];
  cudaEvent_t forked, joined[4];
  check(cudaEventCreateWithFlags(&forked, cudaEventDisableTiming), "event");
  for (int i = 0; i < 4; ++i) {
    check(cudaStreamCreateWithFlags(&streams[i], cudaStreamNonBlocking), "stream");
    check(cudaEventCreateWithFlags(&joined[i], cudaEventDisableTiming), "event");
  }
  for (const Layer& layer : experts) {
    for (const int groups : {2, 4, 8, 16, 32}) {
      if (groups > 8 && layer.n * layer.k > 40e6) continue;
      for (const std::int64_t rows : {128, 256, 512, 1024, 2048, 4096}) {
        if (groups * rows > 32768) continue;
        for (const Pass pass : kPasses) {
          const Product product(bench.handle, pass, Type::bf16, {rows, layer.n, layer.k});
          if (product.missing()) continue;
          const Sample sample = bench.timer.time([&](int) {
            check(cudaEventRecord(forked, bench.timer.stream()), "fork");
            for (int i = 0; i < groups; ++i) {
              const int s = i % 4;
              if (i < 4) check(cudaStreamWaitEvent(streams[s], forked), "fork");
              const void* a = bench.bf16.next(product.a_bytes());
              const void* b = bench.bf16.next(product.b_bytes());
              product.run(a, b, bench.results.next(product.d_bytes()), bench.workspaces[s], streams[s]);
            }
            for (int s = 0; s < 4 && s < groups; ++s) {
              check(cudaEventRecord(joined[s], streams[s]), "join");
              check(cudaStreamWaitEvent(bench.timer.stream(), joined[s]), "join");
            }
          });
          bench.report.point("grouped_gemm", name_of(pass), "bf16",
                             "\"num_groups\": " + std::to_string(groups) +
                                 ", \"m_per_group\": " + std::to_string(rows) + ", \"n\": " + std::to_string(layer.n) +
                                 ", \"k\": " + std::to_string(layer.k),
                             sample);
        }
      }
    }
  }
}

}  // namespace gpu_points
