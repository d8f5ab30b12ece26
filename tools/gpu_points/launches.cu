// SPDX-License-Identifier: Apache-2.0
#include "check.h"
#include "measurements.h"

#include <algorithm>
#include <chrono>
#include <vector>

namespace gpu_points {
namespace {

__global__ void nothing() {}

/// Runs for about so many nanoseconds.
__global__ void wait_for(long long nanoseconds) {
  long long begin, now;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(begin));
  do {
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
  } while (now - begin < nanoseconds);
}

}  // namespace

void measure_launches(Bench& bench) {
  const cudaStream_t stream = bench.timer.stream();
  const auto empty = [&](int) { nothing<<<1, 32, 0, stream>>>(); };
  bench.report.row("launch", "empty kernel, node of a graph", {{"seconds", bench.timer.time(empty).seconds}});
  bench.report.row("launch", "empty kernel, launched", {{"seconds", bench.timer.time_launches(empty, 1000).seconds}});
  // While the device waits the host is ahead: what follows is only the device's own gap between kernels.
  const auto behind = [&](int i) {
    if (i % 200 == 0) wait_for<<<1, 1, 0, stream>>>(2'000'000);
    nothing<<<bench.num_sms, 256, 0, stream>>>();
  };
  const Sample s = bench.timer.time_launches(behind, 200);
  bench.report.row("launch", "empty kernel, host ahead", {{"seconds", s.seconds - 2e-3 / 200.0}});
  const auto begin = std::chrono::steady_clock::now();
  constexpr int kLaunches = 900;
  wait_for<<<1, 1, 0, stream>>>(20'000'000);
  for (int i = 0; i < kLaunches; ++i) nothing<<<1, 32, 0, stream>>>();
  const std::chrono::duration<double> host = std::chrono::steady_clock::now() - begin;
  check(cudaStreamSynchronize(stream), "launches");
  bench.report.row("launch", "host, one kernel", {{"seconds", host.count() / kLaunches}});
}

void measure_duty(Bench& bench) {
  const cudaStream_t stream = bench.timer.stream();
  const Shape shape{8192, 4096, 4096};
  const Product product(bench.handle, Pass::fwd, Type::bf16, shape);
  constexpr int kPairs = 2000, kCounted = 200;  // the last ones, when the power has settled
  std::vector<cudaEvent_t> begins(kCounted), ends(kCounted);
  for (int i = 0; i < kCounted; ++i) {
    check(cudaEventCreate(&begins[i]), "event");
    check(cudaEventCreate(&ends[i]), "event");
  }
  for (const double pause : {0.0, 0.25, 0.5, 1.0, 2.0}) {
    for (int i = 0; i < kPairs; ++i) {
      const int counted = i - (kPairs - kCounted);
      const void* a = bench.bf16.next(product.a_bytes());
      const void* b = bench.bf16.next(product.b_bytes());
      if (counted >= 0) check(cudaEventRecord(begins[counted], stream), "record");
      product.run(a, b, bench.results.next(product.d_bytes()), bench.workspaces[0], stream);
      if (counted >= 0) check(cudaEventRecord(ends[counted], stream), "record");
      if (pause > 0.0) wait_for<<<1, 1, 0, stream>>>(static_cast<long long>(pause * 380'000));
    }
    check(cudaStreamSynchronize(stream), "products and pauses");
    const double clock = bench.report.nvml().sm_clock(), watts = bench.report.nvml().power();
    std::vector<double> times;
    for (int i = 0; i < kCounted; ++i) {
      float milliseconds = 0.0f;
      check(cudaEventElapsedTime(&milliseconds, begins[i], ends[i]), "elapsed");
      times.push_back(milliseconds * 1e-3);
    }
    std::nth_element(times.begin(), times.begin() + kCounted / 2, times.end());
    bench.report.row("duty", "product of 8192 x 4096 x 4096, then a pause",
                     {{"pause", pause * 380e-6}, {"seconds", times[kCounted / 2]}, {"clock", clock}, {"W", watts}});
  }
}

}  // namespace gpu_points
