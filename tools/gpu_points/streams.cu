// SPDX-License-Identifier: Apache-2.0
// Kernels that only move memory: the patterns of norms, activations, permutes and the optimizer, 16 bytes a thread.
#include "check.h"
#include "kernels.h"
#include "measurements.h"

#include <cstdint>

namespace gpu_points {
namespace {

__global__ void copy(const uint4* in, uint4* out, std::int64_t count) {
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) {
    out[i] = in[i];
  }
}

/// Two inputs, one output, as an activation with a gate.
__global__ void combine(const uint4* a, const uint4* b, uint4* out, std::int64_t count) {
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) {
    const uint4 x = a[i], y = b[i];
    out[i] = {x.x ^ y.x, x.y ^ y.y, x.z ^ y.z, x.w ^ y.w};
  }
}

/// Rows in another order, as tokens on their way to experts: one block a row.
__global__ void permute(const uint4* in, uint4* out, std::int64_t rows, int width) {
  const std::int64_t from = static_cast<std::int64_t>(blockIdx.x) * 7919 % rows;
  for (int i = threadIdx.x; i < width; i += blockDim.x) {
    out[static_cast<std::int64_t>(blockIdx.x) * width + i] = in[from * width + i];
  }
}

/// AdamW in f32 with weights of bf16: reads gradient, master, two moments; writes three of them and the weight.
__global__ void adamw(const float4* gradient, float4* master, float4* first, float4* second, ushort4* weight,
                      std::int64_t count) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const float4 g = gradient[i];
  float4 w = master[i], m = first[i], v = second[i];
  const auto step = [](float g, float& w, float& m, float& v) {
    m = 0.9f * m + 0.1f * g;
    v = 0.95f * v + 0.05f * g * g;
    w -= 1e-4f * (m * rsqrtf(v + 1e-8f) + 0.1f * w);
    return static_cast<unsigned short>(__float_as_uint(w) >> 16);
  };
  weight[i] = {step(g.x, w.x, m.x, v.x), step(g.y, w.y, m.y, v.y), step(g.z, w.z, m.z, v.z), step(g.w, w.w, m.w, v.w)};
  master[i] = w;
  first[i] = m;
  second[i] = v;
}

void bandwidth_row(Bench& bench, const char* name, double bytes, const Sample& s) {
  bench.report.row("stream", name, {{"bytes", bytes}, {"seconds", s.seconds}, {"GB/s", bytes / s.seconds * 1e-9}});
}

int blocks_for(const Bench& bench, std::int64_t count) {
  return static_cast<int>(std::min<std::int64_t>((count + 255) / 256, 8L * bench.num_sms));
}

}  // namespace

void copy_between(Bench& bench, std::int64_t bytes) {
  const std::int64_t count = bytes / 16;
  const void* from = bench.bf16.next(bytes);
  copy<<<blocks_for(bench, count), 256, 0, bench.timer.stream()>>>(
      static_cast<const uint4*>(from), static_cast<uint4*>(bench.results.next(bytes)), count);
}

void measure_streams(Bench& bench) {
  const cudaStream_t stream = bench.timer.stream();
  for (std::int64_t bytes = 64 << 10; bytes <= std::int64_t{4} << 30; bytes *= 2) {
    const Sample s = bench.timer.time([&](int) { copy_between(bench, bytes / 2); });
    bench.report.point("memory", "fwd", "bf16", "\"bytes\": \"" + std::to_string(bytes) + " B\"", s);
  }
  for (const std::int64_t bytes : {std::int64_t{48} << 20, std::int64_t{768} << 20}) {
    const std::int64_t part = bytes / 3, count = part / 16;
    bandwidth_row(bench, "two read, one written", static_cast<double>(bytes), bench.timer.time([&](int) {
      const void* a = bench.bf16.next(part);
      const void* b = bench.bf16.next(part);
      combine<<<blocks_for(bench, count), 256, 0, stream>>>(static_cast<const uint4*>(a), static_cast<const uint4*>(b),
                                                            static_cast<uint4*>(bench.results.next(part)), count);
    }));
  }
  for (const int columns : {2048, 4096, 7168}) {
    const std::int64_t rows = 32768, half = rows * columns * 2;
    bandwidth_row(bench, ("permute, rows of " + std::to_string(columns)).c_str(), 2.0 * half,
                  bench.timer.time([&](int) {
                    permute<<<rows, 256, 0, stream>>>(static_cast<const uint4*>(bench.bf16.next(half)),
                                                      static_cast<uint4*>(bench.results.next(half)), rows, columns / 8);
                  }));
  }
  for (const std::int64_t parameters : {std::int64_t{1} << 22, std::int64_t{1} << 28}) {
    const std::int64_t bytes = parameters * 4;
    const auto piece = [&](std::int64_t size) { return bench.results.next(size); };
    bandwidth_row(bench, "adamw", 30.0 * parameters, bench.timer.time([&](int) {
      const auto* g = static_cast<const float4*>(piece(bytes));
      auto* w = static_cast<float4*>(piece(bytes));
      auto* m = static_cast<float4*>(piece(bytes));
      auto* v = static_cast<float4*>(piece(bytes));
      adamw<<<(parameters / 4 + 255) / 256, 256, 0, stream>>>(g, w, m, v, static_cast<ushort4*>(piece(bytes / 2)),
                                                              parameters / 4);
    }));
  }
  void* host = nullptr;
  const std::int64_t bytes = 256 << 20;
  check(cudaMallocHost(&host, bytes), "host memory");
  bandwidth_row(bench, "host to device", bytes, bench.timer.time([&](int) {
    check(cudaMemcpyAsync(bench.results.next(bytes), host, bytes, cudaMemcpyHostToDevice, stream), "copy");
  }));
  bandwidth_row(bench, "device to host", bytes, bench.timer.time([&](int) {
    check(cudaMemcpyAsync(host, bench.bf16.next(bytes), bytes, cudaMemcpyDeviceToHost, stream), "copy");
  }));
  check(cudaFreeHost(host), "host memory");
  const std::int64_t on_device = std::int64_t{1} << 30;
  bandwidth_row(bench, "copy engine or driver's kernel, device to device", 2.0 * on_device, bench.timer.time([&](int) {
    check(cudaMemcpyAsync(bench.results.next(on_device), bench.bf16.next(on_device), on_device,
                          cudaMemcpyDeviceToDevice, stream),
          "copy");
  }));
}

}  // namespace gpu_points
