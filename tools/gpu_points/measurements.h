// SPDX-License-Identifier: Apache-2.0
// What is measured: each file a kind of kernel, each function its rows of the report.
#pragma once

#include "product.h"
#include "report.h"
#include "timer.h"

#include <cublasLt.h>

namespace gpu_points {

/// What all measurements share. Operands of products are random normal numbers: zeros draw less power.
struct Bench {
  explicit Bench(const char* file);

  Report report;
  Timer timer;
  cublasLtHandle_t handle = nullptr;
  Operands bf16, fp8, results;  // results: zeros at first, so that f32 sums stay finite
  void* workspaces[4] = {};     // one for each stream of a grouped product
  int num_sms = 0;
};

void measure_products(Bench& bench);          // gemm, bf16 and fp8, each pass
void measure_grouped_products(Bench& bench);  // grouped_gemm: experts on four streams, as Transformer Engine
void measure_streams(Bench& bench);           // memory: copies of one kernel, other patterns, host copies
void measure_quantise(Bench& bench);          // operands of fp8 products: largest magnitude, casts, transposes
void measure_launches(Bench& bench);          // shortest kernel, gaps, time of the host
void measure_graphs(Bench& bench);            // graphs of short kernels by their number
void measure_host_reads(Bench& bench);        // a host that waits for a number from the device
void measure_duty(Bench& bench);              // products with pauses or copies between: the clock that power leaves
void measure_power(Bench& bench);             // idle, products, copies, a spinning kernel
void measure_beside(Bench& bench);            // products beside a kernel that holds multiprocessors

/// Runs products for so long, to heat the chip.
void heat(Bench& bench, double seconds);

}  // namespace gpu_points
