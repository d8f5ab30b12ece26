// SPDX-License-Identifier: Apache-2.0
// Products beside a kernel that holds multiprocessors, as a communication's does: each of its blocks takes a
// multiprocessor whole. It either spins, as one that waits for a peer, or copies, as one whose message comes in.
#include "check.h"
#include "measurements.h"

#include <array>
#include <chrono>
#include <cmath>
#include <thread>
#include <vector>

namespace gpu_points {
namespace {

constexpr int kThreads = 512;

/// Ends when `stop` is set. `copied`: bytes that all blocks moved, read and written.
__global__ void hold(const volatile int* stop, const uint4* in, uint4* out, std::int64_t count, bool copies,
                     unsigned long long* copied) {
  const std::int64_t share = count / gridDim.x / kThreads * kThreads, first = share * blockIdx.x;
  unsigned long long moved = 0;
  for (std::int64_t at = 0; *stop == 0; at = (at + 8 * kThreads) % (share - 8 * kThreads)) {
    if (!copies) continue;
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const std::int64_t i = first + at + j * kThreads + threadIdx.x;
      out[i] = in[i];
    }
    moved += 2 * 8 * 16;
  }
  atomicAdd(copied, moved);
}

class Holder {
 public:
  explicit Holder(Bench& bench) : bench_(bench) {
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "stream");
    check(cudaStreamCreateWithFlags(&other_, cudaStreamNonBlocking), "stream");
    check(cudaMalloc(&stop_, sizeof(int)), "flag");
    check(cudaMalloc(&copied_, sizeof(unsigned long long)), "count");
    cudaDeviceGetAttribute(&shared_, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0);
    check(cudaFuncSetAttribute(hold, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_), "shared memory");
  }

  void begin(int blocks, bool copies) {
    check(cudaMemset(stop_, 0, sizeof(int)), "flag");
    check(cudaMemset(copied_, 0, sizeof(unsigned long long)), "count");
    check(cudaDeviceSynchronize(), "flag");
    const std::int64_t bytes = std::int64_t{1} << 30;
    hold<<<blocks, kThreads, shared_, stream_>>>(stop_, static_cast<const uint4*>(bench_.bf16.next(bytes)),
                                                 static_cast<uint4*>(bench_.results.next(bytes)), bytes / 16, copies,
                                                 copied_);
    check(cudaGetLastError(), "holding kernel");
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    begin_ = std::chrono::steady_clock::now();
  }

  /// Bytes per second that it moved.
  double end() {
    const std::chrono::duration<double> held = std::chrono::steady_clock::now() - begin_;
    check(cudaMemsetAsync(stop_, 1, sizeof(int), other_), "flag");
    check(cudaStreamSynchronize(stream_), "holding kernel");
    unsigned long long copied = 0;
    check(cudaMemcpy(&copied, copied_, sizeof(copied), cudaMemcpyDeviceToHost), "count");
    return static_cast<double>(copied) / (held.count() + 2e-3);
  }

 private:
  Bench& bench_;
  cudaStream_t stream_, other_;
  int* stop_ = nullptr;
  unsigned long long* copied_ = nullptr;
  int shared_ = 0;
  std::chrono::steady_clock::time_point begin_;
};

}  // namespace

void measure_beside(Bench& bench) {
  Holder holder(bench);
  const std::array<Shape, 8> shapes = {{{4096, 4096, 4096},
                                        {2816, 1536, 8192},  // 132 tiles of 256 x 128: one wave
                                        {8192, 8192, 8192},
                                        {4096, 28672, 4096},
                                        {4096, 4096, 14336},
                                        {4096, 1536, 7168},
                                        {4096, 24576, 1536},
                                        {8192, 2048, 2048}}};
  for (const Shape& shape : shapes) {
    for (const Pass pass : {Pass::fwd, Pass::wgrad}) {
      const Product product(bench.handle, pass, Type::bf16, shape);
      for (const bool copies : {false, true}) {
        for (const int blocks : {0, 4, 8, 16, 20, 24, 32}) {
          if (blocks > 0) holder.begin(blocks, copies);
          const Sample s = bench.timer.time_launches(
              [&](int) {
                const void* a = bench.bf16.next(product.a_bytes());
                const void* b = bench.bf16.next(product.b_bytes());
                product.run(a, b, bench.results.next(product.d_bytes()), bench.workspaces[0], bench.timer.stream());
              },
              std::max(1, static_cast<int>(4e-3 / (2.0 * shape.m * shape.n * shape.k / 600e12))));
          const double moved = blocks > 0 ? holder.end() : 0.0;
          bench.report.row(copies ? "beside a copy" : "beside a spin", name_of(pass),
                           {{"m", shape.m},
                            {"n", shape.n},
                            {"k", shape.k},
                            {"held", blocks},
                            {"seconds", s.seconds},
                            {"spread", s.spread},
                            {"copied GB/s", moved * 1e-9},
                            {"clock", bench.report.nvml().sm_clock()}});
        }
      }
    }
  }
}

void measure_power(Bench& bench) {
  const Nvml& nvml = bench.report.nvml();
  const auto row = [&](const char* name, double seconds, double joules) {
    bench.report.row("power", name,
                     {{"W", joules / seconds},
                      {"W stated", nvml.power()},
                      {"clock", nvml.sm_clock()},
                      {"memory clock", nvml.memory_clock()},
                      {"celsius", nvml.temperature()},
                      {"throttled", static_cast<double>(nvml.throttled())}});
  };
  const auto during = [&](const char* name, double seconds, const auto& work) {
    const auto begin = std::chrono::steady_clock::now();
    const double before = nvml.energy();
    work(seconds);
    const double after = nvml.energy();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    row(name, took.count(), after - before);
  };
  const auto sleep = [](double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); };
  during("idle", 2.0, sleep);
  during("products of 8192", 4.0, [&](double seconds) { heat(bench, seconds); });
  Holder holder(bench);
  for (const auto& [name, blocks, copies] : {std::tuple{"spinning on 20 multiprocessors", 20, false},
                                             {"copying on 20 multiprocessors", 20, true},
                                             {"copying on all multiprocessors", bench.num_sms, true},
                                             {"spinning on all multiprocessors", bench.num_sms, false}}) {
    holder.begin(blocks, copies);
    during(name, 2.0, sleep);
    const double moved = holder.end();
    bench.report.row("stream", name, {{"GB/s", moved * 1e-9}});
  }
}

}  // namespace gpu_points
