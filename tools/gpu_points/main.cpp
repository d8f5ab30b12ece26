// SPDX-License-Identifier: Apache-2.0
// Measures what kernels of this machine's first NVIDIA GPU take: gpu_points FILE [NAME...] writes one line of JSON for
// each measurement of the named groups, of all without a name. tools/derive_gpu_calibrations.py makes a calibration of
// it. Needs 50 GB of the device's memory and about three minutes. What is measured and how: docs/design/gpu-points.md.
#include "check.h"
#include "measurements.h"

#include <algorithm>
#include <cstdio>
#include <string_view>
#include <vector>

namespace gpu_points {

namespace {
constexpr std::int64_t kGigabyte = 1'000'000'000;

struct Group {
  std::string_view name;
  void (*measure)(Bench&);
};

// In this order: what writes fp8 over the results comes last, since sums in f32 over it would not stay finite.
constexpr Group kGroups[] = {
    {"power", measure_power},
    {"launches", measure_launches},
    {"graphs", measure_graphs},
    {"reads", measure_host_reads},
    {"heat", [](Bench& bench) { heat(bench, 3.0); }},
    {"duty", measure_duty},
    {"products", measure_products},
    {"experts", measure_grouped_products},
    {"streams", measure_streams},
    {"beside", measure_beside},
    {"quantise", measure_quantise},
};
}  // namespace

Bench::Bench(const char* file)
    : report(file),
      bf16(20 * kGigabyte, Operands::Fill::bf16),
      fp8(4 * kGigabyte, Operands::Fill::fp8),
      results(24 * kGigabyte, Operands::Fill::zero) {
  check(cublasLtCreate(&handle), "cuBLASLt");
  for (void*& workspace : workspaces) check(cudaMalloc(&workspace, kWorkspace), "workspace");
  check(cudaDeviceGetAttribute(&num_sms, cudaDevAttrMultiProcessorCount, 0), "multiprocessors");
}

}  // namespace gpu_points

int main(int argc, char** argv) {
  using namespace gpu_points;
  if (argc < 2) {
    std::fprintf(stderr, "usage: gpu_points FILE [NAME...]\n");
    return 2;
  }
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, 0), "a device");
  Bench bench(argv[1]);
  bench.report.text("head", "device", properties.name);
  bench.report.text("head", "driver", bench.report.nvml().driver());
  bench.report.text("head", "cuBLASLt", std::to_string(cublasLtGetVersion()));
  bench.report.row("head", "device",
                   {{"multiprocessors", properties.multiProcessorCount},
                    {"L2", properties.l2CacheSize},
                    {"memory", static_cast<double>(properties.totalGlobalMem)},
                    {"power limit", bench.report.nvml().power_limit()}});
  const std::vector<std::string_view> names(argv + 2, argv + argc);
  for (const Group& group : kGroups) {
    if (names.empty() || std::find(names.begin(), names.end(), group.name) != names.end()) group.measure(bench);
  }
  return 0;
}
