// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

// Element types of tensors and of messages. Size in bytes is a property of the type; FP8 scales are counted where
// they are stored (science of 1x128 blocks: 4 bytes per 128 elements), not here.

namespace orrery {

enum class DType : std::uint8_t { f32, bf16, fp8, u8, i32, i64 };

constexpr std::int64_t size_of(DType type) {
  switch (type) {
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::bf16:
      return 2;
    case DType::fp8:
    case DType::u8:
      return 1;
    case DType::i64:
      return 8;
  }
  return 0;
}

constexpr std::string_view name_of(DType type) {
  switch (type) {
    case DType::f32:
      return "f32";
    case DType::bf16:
      return "bf16";
    case DType::fp8:
      return "fp8";
    case DType::u8:
      return "u8";
    case DType::i32:
      return "i32";
    case DType::i64:
      return "i64";
  }
  return "?";
}

}  // namespace orrery
