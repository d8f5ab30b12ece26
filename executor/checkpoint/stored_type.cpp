// SPDX-License-Identifier: Apache-2.0
#include "executor/checkpoint/stored_type.h"

#include "base/check.h"
#include "executor/kernels/bf16.h"

#include <bit>
#include <cmath>
#include <cstring>

namespace orrery::executor {
namespace {

static_assert(std::endian::native == std::endian::little);

/// A half-precision number: 1 bit of sign, 5 of exponent, 10 of fraction.
float widened_f16(std::uint16_t half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000U) << 16;
  const std::uint32_t exponent = (half >> 10) & 0x1FU, fraction = half & 0x3FFU;
  if (exponent == 0) {  // zero and the smallest numbers: fraction times 2^-24
    const float value = static_cast<float>(fraction) * 0x1p-24F;
    return sign == 0 ? value : -value;
  }
  const std::uint32_t wide = exponent == 31 ? 255 : exponent + 112;
  return std::bit_cast<float>(sign | wide << 23 | fraction << 13);
}

std::uint16_t narrowed_f16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000U, magnitude = bits & 0x7FFFFFFFU;
  std::uint32_t half = 0;
  if (magnitude > 0x7F800000U) {
    half = 0x7E00U;  // not a number
  } else if (magnitude >= std::bit_cast<std::uint32_t>(65520.0F)) {
    half = 0x7C00U;  // infinity: halfway to what the next exponent would have, or more
  } else if (magnitude < std::bit_cast<std::uint32_t>(0x1p-14F)) {
    half = static_cast<std::uint32_t>(std::nearbyint(std::abs(value) * 0x1p24F));
  } else {
    half = (magnitude + 0xFFFU + ((magnitude >> 13) & 1U) - (112U << 23)) >> 13;
  }
  return static_cast<std::uint16_t>(sign | half);
}

template <class Element>
Element element_at(std::span<const std::byte> bytes, std::size_t index) {
  Element element;
  std::memcpy(&element, bytes.data() + index * sizeof(Element), sizeof(Element));
  return element;
}

}  // namespace

void widen(StoredType type, std::span<const std::byte> bytes, std::span<float> out) {
  CHECK(is_float(type));
  CHECK(bytes.size() == out.size() * static_cast<std::size_t>(size_of(type)), bytes.size(), out.size());
  if (type == StoredType::f32) {
    if (!out.empty()) std::memcpy(out.data(), bytes.data(), bytes.size());
    return;
  }
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = type == StoredType::f16 ? widened_f16(element_at<std::uint16_t>(bytes, i))
                                     : static_cast<float>(element_at<bf16>(bytes, i));
  }
}

std::vector<std::byte> narrowed(StoredType type, std::span<const float> values) {
  CHECK(is_float(type));
  std::vector<std::byte> bytes(values.size() * static_cast<std::size_t>(size_of(type)));
  if (type == StoredType::f32) {
    if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
    return bytes;
  }
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto half = type == StoredType::f16 ? narrowed_f16(values[i]) : std::bit_cast<std::uint16_t>(bf16(values[i]));
    std::memcpy(bytes.data() + 2 * i, &half, 2);
  }
  return bytes;
}

}  // namespace orrery::executor
