// SPDX-License-Identifier: Apache-2.0
// What makes operands of fp8 products of bf16 tensors: the largest magnitude, casts with one scale, and casts with a
// scale for each 128 elements. Hopper multiplies fp8 only along rows of both operands, so a tensor that more than one
// pass multiplies is written twice, as it is and transposed.
#include "check.h"
#include "measurements.h"

#include <cstdint>

#include <cuda_bf16.h>
#include <cuda_fp8.h>

namespace gpu_points {
namespace {

using bf16 = __nv_bfloat16;
using fp8 = __nv_fp8_e4m3;

constexpr int kTile = 128;     // rows and columns that a block casts; 128 elements have one scale
constexpr int kThreads = 256;  // 16 threads for the 128 columns of a row, 8 elements each
constexpr int kPerThread = 8;  // 16 bytes of bf16
constexpr int kRowsAtOnce = kThreads * kPerThread / kTile;
constexpr float kLargest = 448.0f;  // of e4m3

__device__ float largest_of(uint4 packed) {
  const auto* values = reinterpret_cast<const bf16*>(&packed);
  float out = 0.0f;
  for (int i = 0; i < kPerThread; ++i) out = fmaxf(out, fabsf(__bfloat162float(values[i])));
  return out;
}

__global__ void find_largest(const uint4* in, std::int64_t count, int* out) {
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  float largest = 0.0f;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) {
    largest = fmaxf(largest, largest_of(in[i]));
  }
  for (int lane = 16; lane > 0; lane /= 2) largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, lane));
  if (threadIdx.x % 32 == 0) atomicMax(out, __float_as_int(largest));
}

__global__ void cast(const uint4* in, uint2* out, std::int64_t count, float scale) {
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) {
    const uint4 packed = in[i];
    const auto* values = reinterpret_cast<const bf16*>(&packed);
    union {
      fp8 each[kPerThread];
      uint2 all;
    } result;
    for (int k = 0; k < kPerThread; ++k) result.each[k] = fp8(__bfloat162float(values[k]) * scale);
    out[i] = result.all;
  }
}

/// A tile as it is and transposed; `of_blocks`: with a scale for each 128 elements along the rows of either, else with
/// `scale`. Scales go to `scales`, a quarter of the tile's row and column.
template <bool of_blocks>
__global__ void cast_both(const bf16* in, fp8* out, fp8* transposed, float* scales, std::int64_t rows,
                          std::int64_t columns, float scale) {
  __shared__ bf16 tile[kTile][kTile + 2];  // padded by one bank
  __shared__ float of_column[kTile];
  const std::int64_t row0 = static_cast<std::int64_t>(blockIdx.y) * kTile;
  const std::int64_t column0 = static_cast<std::int64_t>(blockIdx.x) * kTile;
  const int lane_column = threadIdx.x % (kTile / kPerThread) * kPerThread,
            lane_row = threadIdx.x / (kTile / kPerThread);
  for (int r = lane_row; r < kTile; r += kRowsAtOnce) {
    const uint4 packed = *reinterpret_cast<const uint4*>(in + (row0 + r) * columns + column0 + lane_column);
    const auto* values = reinterpret_cast<const bf16*>(&packed);
    float of_row = scale;
    if constexpr (of_blocks) {
      float largest = largest_of(packed);
      for (int lane = 8; lane > 0; lane /= 2) largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, lane));
      of_row = kLargest / fmaxf(largest, 1e-12f);
      if (lane_column == 0) scales[(row0 + r) * gridDim.x + blockIdx.x] = 1.0f / of_row;
    }
    union {
      fp8 each[kPerThread];
      uint2 all;
    } result;
    for (int k = 0; k < kPerThread; ++k) {
      tile[r][lane_column + k] = values[k];
      result.each[k] = fp8(__bfloat162float(values[k]) * of_row);
    }
    *reinterpret_cast<uint2*>(out + (row0 + r) * columns + column0 + lane_column) = result.all;
  }
  __syncthreads();
  if constexpr (of_blocks) {
    if (threadIdx.x < kTile) {
      float largest = 0.0f;
      for (int r = 0; r < kTile; ++r) largest = fmaxf(largest, fabsf(__bfloat162float(tile[r][threadIdx.x])));
      of_column[threadIdx.x] = kLargest / fmaxf(largest, 1e-12f);
      scales[rows * gridDim.x + (column0 + threadIdx.x) * gridDim.y + blockIdx.y] = 1.0f / of_column[threadIdx.x];
    }
    __syncthreads();
  }
  for (int c = lane_row; c < kTile; c += kRowsAtOnce) {
    const float of = of_blocks ? of_column[c] : scale;
    union {
      fp8 each[kPerThread];
      uint2 all;
    } result;
    for (int k = 0; k < kPerThread; ++k) result.each[k] = fp8(__bfloat162float(tile[lane_column + k][c]) * of);
    *reinterpret_cast<uint2*>(transposed + (column0 + c) * rows + row0 + lane_column) = result.all;
  }
}

struct Matrix {
  std::int64_t rows, columns;
  std::int64_t elements() const { return rows * columns; }
};

void row(Bench& bench, const char* what, const Matrix& m, double bytes, const Sample& s) {
  bench.report.row("quantise", what,
                   {{"rows", static_cast<double>(m.rows)},
                    {"columns", static_cast<double>(m.columns)},
                    {"bytes", bytes},
                    {"seconds", s.seconds},
                    {"GB/s", bytes / s.seconds * 1e-9}});
}

}  // namespace

void measure_quantise(Bench& bench) {
  const cudaStream_t stream = bench.timer.stream();
  for (const Matrix m :
       {Matrix{4096, 2048}, Matrix{8192, 4096}, Matrix{8192, 7168}, Matrix{16384, 4096}, Matrix{16384, 14336}}) {
    const auto elements = static_cast<double>(m.elements());
    const std::int64_t count = m.elements() / kPerThread;
    const auto blocks = static_cast<int>(std::min<std::int64_t>((count + 255) / 256, 8L * bench.num_sms));
    const auto in = [&] { return bench.bf16.next(2 * m.elements()); };
    const auto out = [&] { return static_cast<fp8*>(bench.results.next(m.elements())); };
    row(bench, "largest magnitude", m, 2.0 * elements, bench.timer.time([&](int) {
      find_largest<<<blocks, 256, 0, stream>>>(static_cast<const uint4*>(in()), count,
                                               static_cast<int*>(bench.results.next(4)));
    }));
    row(bench, "cast, one scale", m, 3.0 * elements, bench.timer.time([&](int) {
      const auto* from = static_cast<const uint4*>(in());
      cast<<<blocks, 256, 0, stream>>>(from, reinterpret_cast<uint2*>(out()), count, 16.0f);
    }));
    const dim3 grid(static_cast<unsigned>(m.columns / kTile), static_cast<unsigned>(m.rows / kTile));
    const auto both = [&](auto* kernel) {
      return bench.timer.time([&, kernel](int) {
        const auto* from = static_cast<const bf16*>(in());
        fp8* straight = out();
        fp8* transposed = out();
        auto* scales = static_cast<float*>(bench.results.next(m.elements() / kTile * 2 * 4));
        kernel<<<grid, kThreads, 0, stream>>>(from, straight, transposed, scales, m.rows, m.columns, 16.0f);
      });
    };
    row(bench, "cast and transposed, one scale", m, 4.0 * elements, both(&cast_both<false>));
    row(bench, "cast and transposed, blocks of 128", m, (4.0 + 8.0 / kTile) * elements, both(&cast_both<true>));
  }
}

}  // namespace gpu_points
