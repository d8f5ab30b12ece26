// SPDX-License-Identifier: Apache-2.0
// Measures what kernels of this machine's first NVIDIA GPU take: gpu_points FILE writes one line of JSON for each
// measurement. tools/derive_gpu_calibrations.py makes a calibration of it. Needs 50 GB of the device's memory and about
// three minutes. What is measured and how: docs/design/gpu-points.md.
#include "check.h"
#include "measurements.h"

#include <cstdio>

namespace gpu_points {

namespace {
constexpr std::int64_t kGigabyte = 1'000'000'000;
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
  if (argc != 2) {
    std::fprintf(stderr, "usage: gpu_points FILE\n");
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
  measure_power(bench);
  measure_launches(bench);
  measure_duty(bench);
  heat(bench, 3.0);
  measure_products(bench);
  measure_grouped_products(bench);
  measure_streams(bench);
  measure_beside(bench);
  return 0;
}
