// SPDX-License-Identifier: Apache-2.0
// Products with something else between them, and the clock that the board's power leaves them.
#include "check.h"
#include "kernels.h"
#include "measurements.h"

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

namespace gpu_points {
namespace {

constexpr double kProductSeconds = 380e-6;  // about what the product takes

struct Mixture {
  const char* name;
  int in_a_row;                              // products, before as many of the others
  std::function<void(double seconds)> rest;  // about so long
};

/// Median time of a product when the power has settled, with its clock and the board's power.
void row(Bench& bench, const Product& product, const Mixture& mixture, double share) {
  constexpr int kPairs = 2000, kCounted = 200;  // the last ones
  const cudaStream_t stream = bench.timer.stream();
  std::vector<cudaEvent_t> begins(kCounted), ends(kCounted);
  for (int i = 0; i < kCounted; ++i) {
    check(cudaEventCreate(&begins[i]), "event");
    check(cudaEventCreate(&ends[i]), "event");
  }
  for (int i = 0; i < kPairs; ++i) {
    const int counted = i - (kPairs - kCounted);
    const void* a = bench.bf16.next(product.a_bytes());
    const void* b = bench.bf16.next(product.b_bytes());
    if (counted >= 0) check(cudaEventRecord(begins[counted], stream), "record");
    product.run(a, b, bench.results.next(product.d_bytes()), bench.workspaces[0], stream);
    if (counted >= 0) check(cudaEventRecord(ends[counted], stream), "record");
    if (share > 0.0 && i % mixture.in_a_row == mixture.in_a_row - 1) {
      for (int k = 0; k < mixture.in_a_row; ++k) mixture.rest(share * kProductSeconds);
    }
  }
  check(cudaStreamSynchronize(stream), "products and what is between them");
  const double clock = bench.report.nvml().sm_clock(), watts = bench.report.nvml().power();
  const auto between = [](cudaEvent_t from, cudaEvent_t to) {
    float milliseconds = 0.0f;
    check(cudaEventElapsedTime(&milliseconds, from, to), "elapsed");
    return milliseconds * 1e-3;
  };
  std::vector<double> times;
  for (int i = 0; i < kCounted; ++i) times.push_back(between(begins[i], ends[i]));
  // Of whole turns, so that each product has its rest.
  const int whole = (kCounted - 1) / mixture.in_a_row * mixture.in_a_row;
  const double turn = between(begins[0], begins[whole]) / whole;
  double all = 0.0;
  for (int i = 0; i < whole; ++i) all += times[i];
  std::nth_element(times.begin(), times.begin() + kCounted / 2, times.end());
  bench.report.row("duty", std::string("product of 8192 x 4096 x 4096, then ") + mixture.name,
                   {{"in a row", mixture.in_a_row},
                    {"pause", turn - all / whole},
                    {"seconds", times[kCounted / 2]},
                    {"mean seconds", all / whole},
                    {"clock", clock},
                    {"W", watts}});
  for (int i = 0; i < kCounted; ++i) {
    check(cudaEventDestroy(begins[i]), "event");
    check(cudaEventDestroy(ends[i]), "event");
  }
}

}  // namespace

void measure_duty(Bench& bench) {
  const Product product(bench.handle, Pass::fwd, Type::bf16, Shape{8192, 4096, 4096});
  constexpr std::int64_t kPiece = 64 << 20;
  const double piece_seconds = bench.timer.time([&](int) { copy_between(bench, kPiece); }).seconds;
  const auto pause = [&](double seconds) { pause_for(bench, seconds); };
  const auto copies = [&](double seconds) {
    const auto bytes = static_cast<std::int64_t>(seconds / piece_seconds * kPiece);
    copy_between(bench, std::max<std::int64_t>(bytes / 4096, 1) * 4096);
  };
  row(bench, product, {"nothing", 1, pause}, 0.0);
  for (const Mixture& mixture : {Mixture{"a pause", 1, pause}, Mixture{"a copy", 1, copies},
                                 Mixture{"a pause", 25, pause}, Mixture{"a copy", 25, copies}}) {
    for (const double share : {0.125, 0.25, 0.5, 1.0}) row(bench, product, mixture, share);
  }
}

}  // namespace gpu_points
