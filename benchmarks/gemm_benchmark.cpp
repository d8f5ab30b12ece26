// SPDX-License-Identifier: Apache-2.0
// gemm_benchmark TYPE MxNxK...: what the matrix products of a training step reach when nothing else runs on the core:
// the best back end on one thread, in a loop, each of the three products of a linear layer with M rows, N outputs and K
// inputs. Writes a JSON array with the operations a second of each pass, by shape; against_pytorch.py reads it.
#include "base/number_text.h"
#include "executor/kernels/gemm.h"
#include "executor/kernels/initialize.h"

#include <algorithm>
#include <cstdio>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <time.h>

namespace orrery::executor {
namespace {

constexpr double kTimeOfProduct = 0.15;  // seconds
constexpr int kLeastRepeats = 5;

class Operand {
 public:
  Operand(std::int64_t rows, std::int64_t cols, DType dtype)
      : memory_(static_cast<std::size_t>(rows * cols * size_of(dtype))),
        view_{memory_.data(), dtype, rows, cols, cols} {
    initialize_normal(1, "benchmark", 0, 1.0F, view_);
  }
  Operand(const Operand&) = delete;
  Operand& operator=(const Operand&) = delete;
  const Matrix& view() const { return view_; }

 private:
  std::vector<std::byte> memory_;
  Matrix view_;
};

/// Of this thread, so that what others take of the core does not count.
double processor_seconds() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

/// Operations a second of the median repeat.
template <class Product>
double rate_of(double flops, const Product& product) {
  product();
  std::vector<double> times;
  for (double spent = 0.0; spent < kTimeOfProduct || times.size() < kLeastRepeats; spent += times.back()) {
    const double begin = processor_seconds();
    product();
    times.push_back(processor_seconds() - begin);
  }
  const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
  std::nth_element(times.begin(), middle, times.end());
  return flops / *middle;
}

std::vector<std::int64_t> numbers_in(std::string_view text) {
  std::vector<std::int64_t> numbers;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('x'), text.size());
    numbers.push_back(number_in<std::int64_t>(text.substr(0, end)).value_or(0));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return numbers;
}

int run(DType dtype, int num_shapes, char** shapes) {
  set_num_threads(1);
  const Gemm& gemm = choose_gemm();
  fmt::print("[");
  for (int i = 0; i < num_shapes; ++i) {
    const std::vector<std::int64_t> sizes = numbers_in(shapes[i]);
    if (sizes.size() != 3 || std::ranges::any_of(sizes, [](std::int64_t size) { return size <= 0; })) {
      fmt::print(stderr, "gemm_benchmark: expected a shape such as 512x1024x256, got {}\n", shapes[i]);
      return 2;
    }
    const std::int64_t m = sizes[0], n = sizes[1], k = sizes[2];
    const Operand x(m, k, dtype), w(n, k, dtype), y(m, n, dtype), dx(m, k, dtype), dw(n, k, DType::f32);
    const double flops = 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
    fmt::print("{}{{\"fwd\": {}, \"igrad\": {}, \"wgrad\": {}}}", i == 0 ? "" : ", ",
               rate_of(flops, [&] { linear_forward(gemm, x.view(), w.view(), y.view()); }),
               rate_of(flops, [&] { linear_igrad(gemm, y.view(), w.view(), dx.view()); }),
               rate_of(flops, [&] { linear_wgrad(gemm, y.view(), x.view(), dw.view()); }));
  }
  fmt::print("]\n");
  return 0;
}

}  // namespace
}  // namespace orrery::executor

int main(int argc, char** argv) {
  const std::string_view type = argc > 1 ? argv[1] : "";
  if (type != "f32" && type != "bf16") {
    fmt::print(stderr, "gemm_benchmark: expected f32 or bf16, then shapes such as 512x1024x256\n");
    return 2;
  }
  return orrery::executor::run(type == "f32" ? orrery::DType::f32 : orrery::DType::bf16, argc - 2, argv + 2);
}
