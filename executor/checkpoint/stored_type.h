// SPDX-License-Identifier: Apache-2.0
// Types of elements in files of tensors, and the way from and to f32.
#pragma once

#include "base/enum_names.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace orrery::executor {

/// Element types that we read and write.
enum class StoredType : std::uint8_t { f32, bf16, f16 };

/// As safetensors names them.
inline constexpr Named<StoredType> kStoredTypeNames[] = {
    {"F32", StoredType::f32}, {"BF16", StoredType::bf16}, {"F16", StoredType::f16}};

constexpr std::int64_t size_of(StoredType type) { return type == StoredType::f32 ? 4 : 2; }

/// Elements as f32: bf16 and f16 widen without loss. Requires: `bytes` holds as many elements as `out`.
void widen(StoredType type, std::span<const std::byte> bytes, std::span<float> out);

/// The nearest elements of `type`, ties to even; beyond the largest of them infinity.
std::vector<std::byte> narrowed(StoredType type, std::span<const float> values);

}  // namespace orrery::executor
