// SPDX-License-Identifier: Apache-2.0
#include "check.h"
#include "timer.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include <cuda_bf16.h>
#include <cuda_fp8.h>

namespace gpu_points {
namespace {

constexpr double kBatchSeconds = 5e-3;
constexpr int kMostCalls = 200;
constexpr int kBatches = 9;

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

Sample sample_of(const std::vector<double>& times) {
  const double middle = median(times);
  std::vector<double> deviations;
  for (const double t : times) deviations.push_back(std::abs(t - middle));
  return {middle, median(deviations), static_cast<int>(times.size())};
}

/// Random normal by Box and Muller from a hash of the index: the same numbers in each run.
__device__ float random_normal(std::uint64_t i) {
  std::uint64_t x = (i + 1) * 0x9E3779B97F4A7C15ull;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  x ^= x >> 31;
  const float u = (static_cast<float>(x >> 40) + 1.0f) / 16777217.0f;
  const float v = static_cast<float>(x & 0xFFFFFF) / 16777216.0f;
  return sqrtf(-2.0f * logf(u)) * cospif(2.0f * v);
}

template <class T>
__global__ void fill(T* out, std::int64_t count) {
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) {
    out[i] = T(random_normal(i));
  }
}

}  // namespace

Timer::Timer() {
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "stream");
  check(cudaEventCreate(&begin_), "event");
  check(cudaEventCreate(&end_), "event");
}

double Timer::elapsed(const std::function<void()>& work) {
  check(cudaEventRecord(begin_, stream_), "record");
  work();
  check(cudaEventRecord(end_, stream_), "record");
  check(cudaEventSynchronize(end_), "the timed kernels");
  float milliseconds = 0.0f;
  check(cudaEventElapsedTime(&milliseconds, begin_, end_), "elapsed");
  return milliseconds * 1e-3;
}

Sample Timer::time(const std::function<void(int)>& launch) {
  int call = 0;
  elapsed([&] { launch(call++); });
  const double first = elapsed([&] {
                         for (int i = 0; i < 3; ++i) launch(call++);
                       }) /
                       3.0;
  const int calls = std::clamp(static_cast<int>(kBatchSeconds / first), 1, kMostCalls);
  check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "begin of a capture");
  for (int i = 0; i < calls; ++i) launch(call++);
  cudaGraph_t graph = nullptr;
  check(cudaStreamEndCapture(stream_, &graph), "end of a capture");
  cudaGraphExec_t ready = nullptr;
  check(cudaGraphInstantiate(&ready, graph, 0), "a graph");
  std::vector<double> times;
  for (int i = 0; i < kBatches + 2; ++i) {
    const double t = elapsed([&] { check(cudaGraphLaunch(ready, stream_), "launch of a graph"); }) / calls;
    if (i >= 2) times.push_back(t);
  }
  check(cudaGraphExecDestroy(ready), "a graph");
  check(cudaGraphDestroy(graph), "a graph");
  return sample_of(times);
}

Sample Timer::time_launches(const std::function<void(int)>& launch, int calls) {
  std::vector<double> times;
  int call = 0;
  for (int i = 0; i < kBatches + 2; ++i) {
    const double t = elapsed([&] {
                       for (int j = 0; j < calls; ++j) launch(call++);
                     }) /
                     calls;
    if (i >= 2) times.push_back(t);
  }
  return sample_of(times);
}

Operands::Operands(std::int64_t bytes, Fill kind) : size_(bytes) {
  check(cudaMalloc(&base_, bytes), "memory for operands");
  if (kind == Fill::bf16) fill<<<1024, 256>>>(reinterpret_cast<__nv_bfloat16*>(base_), bytes / 2);
  if (kind == Fill::fp8) fill<<<1024, 256>>>(reinterpret_cast<__nv_fp8_e4m3*>(base_), bytes);
  if (kind == Fill::zero) check(cudaMemset(base_, 0, bytes), "zeros");
  check(cudaDeviceSynchronize(), "operands");
}

void* Operands::next(std::int64_t bytes) {
  bytes = (bytes + 255) / 256 * 256;
  if (bytes > size_) {
    std::fprintf(stderr, "expected operands of at most %lld bytes, got %lld\n", static_cast<long long>(size_),
                 static_cast<long long>(bytes));
    std::exit(1);
  }
  if (used_ + bytes > size_) used_ = 0;
  void* piece = base_ + used_;
  used_ += bytes;
  return piece;
}

}  // namespace gpu_points
