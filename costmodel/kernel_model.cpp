// SPDX-License-Identifier: Apache-2.0
#include "costmodel/kernel_model.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace orrery::costmodel {
namespace {

/// A tile of the result and the share of the largest tile's rate that its main loop reaches: a smaller one loads more
/// operands for each product.
struct Tile {
  double rows, cols, rate;
};
constexpr std::array<Tile, 8> kTiles = {{{256, 128, 1.0},
                                         {128, 256, 1.0},
                                         {128, 128, 0.9},
                                         {256, 64, 0.8},
                                         {64, 256, 0.8},
                                         {128, 64, 0.75},
                                         {64, 128, 0.75},
                                         {64, 64, 0.55}}};
// A split of the inner dimension is worth a kernel only if something of it is left for each part.
constexpr std::array<double, 4> kSplits = {1, 2, 4, 8};
constexpr double kLeastSplitColumns = 256.0;
// Rows of an operand that do not begin at multiples of 16 bytes cannot be loaded by the fast kernels: a vocabulary of
// 128003 or 50257 entries takes the head three times as long. Source: Netflix, "Scaling LLM post-training", 2026-02-13.
constexpr double kAlignment = 16.0, kUnalignedRate = 1.0 / 3.0;

// Tensor cores multiply tf32 at half the rate of bf16 (data sheets of the A100 and later).
constexpr double kTf32OverBf16 = 0.5;

double size_in_bytes(DType dtype) { return static_cast<double>(size_of(dtype)); }

}  // namespace

double missing_multiprocessors(const KernelParameters& kernels, double held) {
  return kernels.taken * std::max(1.0, held / kHeldMultiprocessors);
}

double clock_under_power_limit(Watts limit, Watts calibrated) { return std::cbrt(limit / calibrated); }

KernelModel::KernelModel(const Device& device, const KernelParameters& parameters, const State& state)
    : device_(device), parameters_(parameters), state_(state), bandwidth_(std::numeric_limits<double>::infinity()) {
  if (device.num_sms) num_sms_ = static_cast<double>(*device.num_sms);
  free_sms_ = std::max(1.0, num_sms_ - state.taken);
  // CPU ranks keep operands in caches: their memory bounds no product.
  if (device.memory_bandwidth && device.kind != DeviceKind::cpu) {
    bandwidth_ = device.memory_bandwidth->in(unit::byte_per_second)*parameters.memory;
  }
}

std::optional<FlopsPerSecond> peak_rate(const Device& device, DType dtype, bool tf32) {
  const auto found = device.peak.find(dtype);
  const auto bf16 = device.peak.find(DType::bf16);
  const bool in_tf32 = tf32 && dtype == DType::f32 && bf16 != device.peak.end();
  if (found == device.peak.end()) return in_tf32 ? std::optional(bf16->second * kTf32OverBf16) : std::nullopt;
  return in_tf32 ? std::max(found->second, bf16->second * kTf32OverBf16) : found->second;
}

std::optional<double> KernelModel::peak_of(DType dtype) const {
  const auto peak = peak_rate(device_, dtype, parameters_.tf32);
  if (!peak) return std::nullopt;
  return peak->in(unit::flop_per_second)*state_.clock;
}

std::optional<Seconds> KernelModel::product(Pass pass, std::span<const double> rows, std::int64_t n, std::int64_t k,
                                            DType dtype, DType accumulate) const {
  const auto peak = peak_of(dtype);
  if (!peak) return std::nullopt;
  const double in_blocks = state_.recipe == Fp8Recipe::blockwise ? parameters_.fp8_blocks : 1.0;
  const double reached = dtype == DType::fp8 ? parameters_.matmul_fp8 * in_blocks : parameters_.matmul;
  double sm_rate = *peak * reached * (rows.size() > 1 ? parameters_.grouped : 1.0) / num_sms_;
  const double width = static_cast<double>(n), depth = static_cast<double>(k);
  const double element = size_in_bytes(dtype), result = size_in_bytes(accumulate);
  const bool is_aligned =
      std::fmod(width * element, kAlignment) == 0.0 && std::fmod(depth * element, kAlignment) == 0.0;
  if (device_.kind != DeviceKind::cpu && !is_aligned) sm_rate *= kUnalignedRate;
  // y = x w^T: the forward makes (rows, n) over k, the input gradient (rows, k) over n, the weight gradient (n, k) over
  // rows.
  double traffic = 0.0, num_rows = 0.0;
  for (const double r : rows) {
    num_rows += r;
    if (r > 0.0) traffic += width * depth * (pass == Pass::wgrad ? 2.0 * result : element);
  }
  traffic += num_rows * (width + depth) * element;
  // A tile ends with its result, which is written in bf16 or, of a weight gradient, read and written in `accumulate`.
  const double ramp = parameters_.ramp * (pass == Pass::wgrad ? 2.0 * result : 2.0) / 2.0;
  double best = std::numeric_limits<double>::infinity(), chosen = best;
  for (const Tile& tile : kTiles) {
    for (const double split : kSplits) {
      double tiles = 0.0, inner = 0.0;  // inner columns, by tile
      double deepest = 0.0;
      double outputs = 0.0;
      for (std::size_t i = 0; i < rows.size();) {
        const double r = rows[i];
        double same = 0.0;  // experts with as many rows
        for (; i < rows.size() && rows[i] == r; ++i) same += 1.0;
        if (r <= 0.0) continue;
        const double m = pass == Pass::wgrad ? width : r;
        const double cols = pass == Pass::fwd || pass == Pass::rec ? width : depth;
        const double over = pass == Pass::wgrad ? r : pass == Pass::igrad ? width : depth;
        const double num = same * std::ceil(m / tile.rows) * std::ceil(cols / tile.cols) * split;
        tiles += num;
        inner += num * (over / split);
        deepest = std::max(deepest, over / split);
        outputs += same * m * cols;
      }
      if (tiles == 0.0) return parameters_.kernel;
      const double columns = inner / tiles;
      if (split > 1.0 && columns < kLeastSplitColumns) break;
      // Waves of tiles of the mean depth, but never less than the deepest tile of an uneven weight gradient.
      const auto time_on = [&](double sms) {
        const double depths = std::max(std::ceil(tiles / sms) * (columns + ramp), deepest + ramp);
        const double time = depths * 2.0 * tile.rows * tile.cols / (sm_rate * tile.rate);
        return split > 1.0 ? time + split * outputs * 4.0 / bandwidth_ : time;  // partial sums in f32
      };
      // The library chooses for a whole device, and does not know what a communication will hold.
      if (const double whole = time_on(num_sms_); whole < best) {
        best = whole;
        chosen = time_on(free_sms_);
      }
    }
  }
  const Seconds product = seconds(std::max(chosen, traffic / bandwidth_)) + parameters_.kernel;
  if (rows.size() == 1 || parameters_.fused_experts) return product;
  const auto idle = std::count(rows.begin(), rows.end(), 0.0);
  return product + static_cast<double>(static_cast<std::ptrdiff_t>(rows.size()) - idle) * parameters_.expert;
}

std::optional<Seconds> KernelModel::memory_bound(Bytes traffic) const {
  if (!device_.memory_bandwidth) return std::nullopt;
  return traffic / (parameters_.memory * *device_.memory_bandwidth) + parameters_.kernel;
}

}  // namespace orrery::costmodel
