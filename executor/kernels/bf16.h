// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstdint>

// The 2-byte brain float as storage: the upper half of an IEEE f32. There is no arithmetic on it; kernels widen to
// f32, compute, and round once when they store. Rounding is to nearest, ties to even, by integers, so that it is the
// same on a CPU, on a GPU and in a plain loop, and so that compilers can vectorise it.

namespace orrery::executor {

struct bf16 {  // NOLINT(readability-identifier-naming): reads as a built-in type
  std::uint16_t bits = 0;

  bf16() = default;
  explicit bf16(float wide) {
    const std::uint32_t all = std::bit_cast<std::uint32_t>(wide);
    const std::uint32_t rounded = (all + 0x7fffU + ((all >> 16) & 1U)) >> 16;
    const std::uint32_t quiet_nan = (all >> 16) | 0x40U;  // rounding could turn a NaN into an infinity
    bits = static_cast<std::uint16_t>((all & 0x7fffffffU) > 0x7f800000U ? quiet_nan : rounded);
  }
  explicit operator float() const { return std::bit_cast<float>(std::uint32_t{bits} << 16); }
};

}  // namespace orrery::executor
