// SPDX-License-Identifier: Apache-2.0
// A small GPU and numbers of kernels that are easy to reckon with: for the tests of kernel_model.h.
#pragma once

#include "costmodel/kernel_model.h"

#include <cstdint>
#include <limits>
#include <optional>

namespace orrery::costmodel {

// One multiprocessor does 1e12 operations a second in bf16 and twice as many in fp8.
inline constexpr double kSmRate = 1e12, kBandwidth = 1e12;

inline Device gpu(std::int64_t num_sms = 4) {
  const auto peak = static_cast<double>(num_sms) * kSmRate * unit::flop_per_second;
  Device device;
  device.name = "a gpu";
  device.kind = DeviceKind::cuda;
  device.num_sms = num_sms;
  device.peak = {{DType::bf16, peak}, {DType::fp8, 2.0 * peak}};
  device.memory_bandwidth = bytes_per_second(kBandwidth);
  return device;
}

/// So slow that traffic binds every kernel.
inline Device gpu_of_slow_memory() {
  Device device = gpu();
  device.memory_bandwidth = bytes_per_second(kBandwidth / 1e4);
  return device;
}

/// Numbers that no two causes share.
inline KernelParameters easy_numbers() {
  KernelParameters numbers;
  numbers.matmul = 0.5;
  numbers.matmul_fp8 = 0.3;
  numbers.grouped = 0.8;
  numbers.ramp = 200.0;
  numbers.attention_forward = 0.4;
  numbers.attention_backward = 0.25;
  numbers.memory = 0.5;
  numbers.kernel = microseconds(3);
  return numbers;
}

inline KernelParameters materialized() {
  KernelParameters numbers = easy_numbers();
  numbers.attention = AttentionKernels::materialized;
  return numbers;
}

/// Nothing is lost: the hardware's own limits.
inline KernelParameters ideal() {
  KernelParameters numbers;
  numbers.matmul = numbers.matmul_fp8 = numbers.grouped = 1.0;
  numbers.attention_forward = numbers.attention_backward = numbers.memory = 1.0;
  numbers.ramp = 0.0;
  numbers.kernel = Seconds::zero();
  return numbers;
}

inline double in_us(const std::optional<Seconds>& time) {
  return time ? time->in(unit::microsecond) : std::numeric_limits<double>::quiet_NaN();
}

/// With easy_numbers, on a device of slow memory.
inline double slow_traffic_us(double bytes) { return bytes / (kBandwidth / 1e4 * 0.5) * 1e6 + 3.0; }

}  // namespace orrery::costmodel
