// SPDX-License-Identifier: Apache-2.0
// Types of elements in files of tensors, and the way from and to f32.
#pragma once

#include "base/enum_names.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace orrery::executor {

/// Element types that we read and write; weights are of the first three.
enum class StoredType : std::uint8_t { f32, bf16, f16, i32 };

/// As safetensors names them.
inline constexpr Named<StoredType> kStoredTypeNames[] = {
    {"F32", StoredType::f32}, {"BF16", StoredType::bf16}, {"F16", StoredType::f16}, {"I32", StoredType::i32}};

constexpr bool is_float(StoredType type) { return type != StoredType::i32; }

constexpr std::int64_t size_of(StoredType type) { return type == StoredType::f32 || type == StoredType::i32 ? 4 : 2; }

/// Elements as f32: bf16 and f16 widen without loss. Requires: is_float(type); `bytes` holds as many elements as `out`.
void widen(StoredType type, std::span<const std::byte> bytes, std::span<float> out);

/// The nearest elements of `type`, ties to even; beyond the largest of them infinity. Requires: is_float(type).
std::vector<std::byte> narrowed(StoredType type, std::span<const float> values);

}  // namespace orrery::executor
