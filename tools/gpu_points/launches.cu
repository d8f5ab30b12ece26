// SPDX-License-Identifier: Apache-2.0
#include "check.h"
#include "kernels.h"
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

/// Writes the nanosecond at which it ran.
__global__ void stamp(long long* out) { asm volatile("mov.u64 %0, %globaltimer;" : "=l"(*out)); }

}  // namespace

void pause_for(Bench& bench, double seconds) {
  wait_for<<<1, 1, 0, bench.timer.stream()>>>(static_cast<long long>(seconds * 1e9));
}

void measure_launches(Bench& bench) {
  const cudaStream_t stream = bench.timer.stream();
  const auto empty = [&](int) { nothing<<<1, 32, 0, stream>>>(); };
  bench.report.row("launch", "empty kernel, node of a graph", {{"seconds", bench.timer.time(empty).seconds}});
  bench.report.row("launch", "empty kernel, launched", {{"seconds", bench.timer.time_launches(empty, 1000).seconds}});
  // While the device waits the host is ahead: what follows is only the device's own gap between kernels.
  const auto behind = [&](int i) {
    if (i % 200 == 0) pause_for(bench, 2e-3);
    nothing<<<bench.num_sms, 256, 0, stream>>>();
  };
  const Sample s = bench.timer.time_launches(behind, 200);
  bench.report.row("launch", "empty kernel, host ahead", {{"seconds", s.seconds - 2e-3 / 200.0}});
  const auto begin = std::chrono::steady_clock::now();
  constexpr int kLaunches = 900;
  pause_for(bench, 20e-3);
  for (int i = 0; i < kLaunches; ++i) nothing<<<1, 32, 0, stream>>>();
  const std::chrono::duration<double> host = std::chrono::steady_clock::now() - begin;
  check(cudaStreamSynchronize(stream), "launches");
  bench.report.row("launch", "host, one kernel", {{"seconds", host.count() / kLaunches}});
}

/// A graph of so many short kernels: what the host takes to launch it, and the device beyond its nodes.
void measure_graphs(Bench& bench) {
  const cudaStream_t stream = bench.timer.stream();
  for (const int nodes : {1, 10, 30, 100, 300, 1000}) {
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "begin of a capture");
    for (int i = 0; i < nodes; ++i) nothing<<<bench.num_sms, 256, 0, stream>>>();
    cudaGraph_t graph = nullptr;
    check(cudaStreamEndCapture(stream, &graph), "end of a capture");
    cudaGraphExec_t ready = nullptr;
    check(cudaGraphInstantiate(&ready, graph, 0), "a graph");
    const auto launch = [&] { check(cudaGraphLaunch(ready, stream), "launch of a graph"); };
    for (int i = 0; i < 20; ++i) launch();
    check(cudaStreamSynchronize(stream), "graphs");
    // The host alone: the device is behind.
    constexpr int kLaunches = 20;
    pause_for(bench, 20e-3);
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < kLaunches; ++i) launch();
    const std::chrono::duration<double> host = std::chrono::steady_clock::now() - begin;
    check(cudaStreamSynchronize(stream), "graphs");
    const Sample behind = bench.timer.time_launches(
        [&](int i) {
          if (i % kLaunches == 0) pause_for(bench, 10e-3);
          launch();
        },
        kLaunches);
    const Sample idle = bench.timer.time_launches([&](int) { launch(); }, 1);
    bench.report.row("graph", "graph of empty kernels",
                     {{"nodes", nodes},
                      {"host", host.count() / kLaunches},
                      {"seconds", behind.seconds - 10e-3 / kLaunches},
                      {"alone", idle.seconds}});
    check(cudaGraphExecDestroy(ready), "a graph");
    check(cudaGraphDestroy(graph), "a graph");
  }
}

/// A host that reads what the device has counted before it can launch what follows, as dropless dispatch does: from
/// the end of the kernel before to the start of the one after.
void measure_host_reads(Bench& bench) {
  const cudaStream_t stream = bench.timer.stream();
  constexpr std::int64_t kBytes = 2048;
  constexpr int kTimes = 201;
  void* host = nullptr;
  check(cudaMallocHost(&host, kBytes), "host memory");
  long long* dates = nullptr;
  check(cudaMallocHost(&dates, 2 * sizeof(long long)), "host memory");
  for (const bool pinned : {true, false}) {
    std::vector<char> pageable(kBytes);
    std::vector<double> gaps;
    for (int i = 0; i < kTimes; ++i) {
      pause_for(bench, 100e-6);
      stamp<<<1, 1, 0, stream>>>(&dates[0]);
      check(cudaMemcpyAsync(pinned ? host : pageable.data(), bench.bf16.next(kBytes), kBytes, cudaMemcpyDeviceToHost,
                            stream),
            "copy");
      check(cudaStreamSynchronize(stream), "copy");
      stamp<<<1, 1, 0, stream>>>(&dates[1]);
      check(cudaStreamSynchronize(stream), "stamp");
      gaps.push_back(static_cast<double>(dates[1] - dates[0]) * 1e-9);
    }
    std::nth_element(gaps.begin(), gaps.begin() + kTimes / 2, gaps.end());
    bench.report.row("launch", pinned ? "host reads 2 KiB, pinned" : "host reads 2 KiB, pageable",
                     {{"seconds", gaps[kTimes / 2]}});
  }
  check(cudaFreeHost(dates), "host memory");
  check(cudaFreeHost(host), "host memory");
}

}  // namespace gpu_points
