// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstdint>

// The 2-byte brain float as storage: the upper half of an IEEE f32. There is no arithmetic on it; kernels widen to
// f32, compute, and round once when they store. Rounding is to nearest, ties to even, by integers, so that it is the
// same on a CPU, on a GPU and in a plain loop, and so that compilers can vectorise it.

namespace orrery::executor {

class bf16 {  // NOLINT(readability-identifier-naming): reads as a built-in type
 public:
  bf16() = default;
  explicit bf16(float wide) : bits_(rounded(wide)) {}
  // Assigning to an element in place, without a temporary object, is what lets g++ 12 vectorise a loop of stores.
  bf16& operator=(float wide) {
    bits_ = rounded(wide);
    return *this;
  }
  explicit operator float() const { return std::bit_cast<float>(std::uint32_t{bits_} << 16); }

 private:
  static std::uint16_t rounded(float wide) {
    const std::uint32_t all = std::bit_cast<std::uint32_t>(wide);
    const std::uint32_t nearest = (all + 0x7fffU + ((all >> 16) & 1U)) >> 16;
    const std::uint32_t quiet_nan = (all >> 16) | 0x40U;  // rounding could turn a NaN into an infinity
    return static_cast<std::uint16_t>((all & 0x7fffffffU) > 0x7f800000U ? quiet_nan : nearest);
  }

  std::uint16_t bits_ = 0;
};

}  // namespace orrery::executor
