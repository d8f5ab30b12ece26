// SPDX-License-Identifier: Apache-2.0
// Time of a kernel from the hardware and a few numbers that say what kernels of a software generation reach on it:
// tiles in waves over the multiprocessors, traffic over the memory bandwidth, a start. A table of measured kernels is
// better where it has the shape (operator_curves.h); this is for all other shapes. It is a form with a cause for each
// term, so that the numbers carry over between shapes. Formulas and what was fitted: docs/design/kernels.md.
#pragma once

#include "base/units.h"
#include "program/cluster.h"
#include "program/op.h"
#include "program/strategy.h"
#include "program/work.h"

#include <optional>
#include <span>
#include <string>

namespace orrery::costmodel {

/// Which kernels a training framework calls for attention.
enum class AttentionKernels {
  fused,         // the best that the device has: cuDNN's, FlashAttention 3 on Hopper
  flash_2,       // FlashAttention 2, which was written for Ampere
  materialized,  // scores are written and read: two batched products and a softmax between
};

/// The numbers of a device and a software generation. Defaults are those of no device: between what was found for
/// A100, H100 and B200 (docs/design/kernels.md).
struct KernelParameters {
  double matmul = 0.7;                          // of the peak rate, which the largest tile reaches far from its ends
  double matmul_fp8 = 0.55;                     // the same of the fp8 peak
  double fp8_blocks = 1.0;                      // of that, with a scale for each 128 elements instead of one a tensor
  double grouped = 0.9;                         // of the rate of one product, by those of several experts in one kernel
  double ramp = 200.0;                          // end of a tile of bf16, in inner columns; longer by the result's bytes
  Seconds expert = Seconds::zero();             // more for each expert with a product of its own: starts and ends
  double attention_forward = 0.65;              // of the peak rate, on full waves, by heads of 128 columns
  double attention_backward = 0.58;             // the same, over 2.5 times the operations of the forward
  double exponentials = 16.0;                   // that a multiprocessor takes in a clock; the shares hold for 16
  double memory = 0.8;                          // of the bandwidth, by streaming kernels
  Seconds kernel = 3.0 * unit::microsecond;     // that the shortest kernel takes
  Seconds dispatch = 20.0 * unit::microsecond;  // of the host for one kernel
  double network = 0.85;                        // of a NIC's rate, by collectives over nodes that were not measured
  double flash_2 = 1.0;                         // of the fused attention's rate, by FlashAttention 2
  // Multiprocessors that products miss while kernels of a communication hold kHeldMultiprocessors. Half a cluster of
  // two is of no use, and messages take bandwidth, so more are missing than are held.
  double taken = 20.0;
  std::optional<double> exchange_holds = {};  // instead, by a recipe; absent: that, and exchanges what they need
  AttentionKernels attention = AttentionKernels::fused;
  double loss_forward = 1.0, loss_backward = 1.0;  // traffic of the loss, over that of one fused kernel each
  bool tf32 = false;             // products of f32, the router's, run on tensor cores at half of their bf16 rate
  bool fused_experts = false;    // one kernel multiplies, activates and casts for all experts of a rank
  bool separate_biases = false;  // kernels of their own add experts' biases and cut activations off at a limit
  bool sorts_arrivals = false;   // rows of a flat exchange are sorted by expert behind it, and back before it
  bool weight_gradients = true;  // false: weights are frozen, and nothing is cast for their gradients
  std::string source;            // what the numbers were fitted to

  bool operator==(const KernelParameters&) const = default;
};

/// Multiprocessors that kernels of a communication hold where nothing else is known: those saturate NVLink and a NIC
/// (DeepSeek-V3 report; DeepEP's default), and NCCL's rings have 16 to 32 channels of one each.
inline constexpr double kHeldMultiprocessors = 20.0;

/// What a product misses beside kernels that hold `held`: more in proportion beside more, and no less beside fewer, as
/// a library lays out its tiles for the whole device. Measured: docs/design/overlap.md.
double missing_multiprocessors(const KernelParameters& kernels, double held);

/// Clock of a device that may draw `limit`, over that of one that may draw `calibrated`: dynamic power grows with the
/// third power of the clock as long as voltage follows it, so a compute-bound kernel under a cap runs at the cube root.
/// Source: docs/design/kernels.md.
double clock_under_power_limit(Watts limit, Watts calibrated);

/// Peak rate of products in `dtype`; nothing if unknown. With `tf32` those of f32 run on tensor cores.
std::optional<FlopsPerSecond> peak_rate(const Device& device, DType dtype, bool tf32);

class KernelModel {
 public:
  struct State {
    double clock = 1.0;  // of the multiprocessors, over that at which the parameters hold
    double taken = 0.0;  // multiprocessors that kernels of a communication hold
    Fp8Recipe recipe = Fp8Recipe::tensorwise;
  };
  KernelModel(const Device& device, const KernelParameters& parameters, const State& state);
  KernelModel(const Device& device, const KernelParameters& parameters) : KernelModel(device, parameters, State{}) {}

  /// A product, or those of several experts in one pool of waves: `rows` of each. `k` inner columns; with `accumulate`
  /// the result is read and written in that type, as a weight gradient is.
  /// Nothing if the device's peak for `dtype` is unknown. A device whose multiprocessors are unknown has one: no waves.
  std::optional<Seconds> product(Pass pass, std::span<const double> rows, std::int64_t n, std::int64_t k, DType dtype,
                                 DType accumulate) const;
  /// `work` with the share of pairs that documents leave.
  std::optional<Seconds> attention(Pass pass, const AttentionShape& shape, const Work& work) const;
  /// Nothing if the device's bandwidth is unknown. Of a kernel of its own, or of what another one moves besides.
  std::optional<Seconds> memory_bound(Bytes traffic) const;
  Seconds moved_besides(Bytes traffic) const { return seconds(traffic.in(unit::byte) / bandwidth_); }

 private:
  std::optional<double> peak_of(DType dtype) const;

  const Device& device_;
  const KernelParameters& parameters_;
  State state_;
  double num_sms_ = 1.0;
  double free_sms_ = 1.0;  // of them, for the kernel
  double bandwidth_;       // bytes per second that streaming kernels reach; infinite if unknown
};

}  // namespace orrery::costmodel
