// SPDX-License-Identifier: Apache-2.0
// Strong indices: an `Id<struct RankTag>` is a position in one kind of table and in no other. It can be compared,
// hashed and turned into its number with `value()`; it has no arithmetic, since the sum of two ranks is no rank.
// `Id<T>()` is `none()`: it points nowhere, and `is_none()` says so.
#pragma once

#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace orrery {

/// An index into the table that `Tag` names.
template <class Tag, std::signed_integral Int = std::int32_t>
class Id {
 public:
  using value_type = Int;

  constexpr Id() = default;
  explicit constexpr Id(Int value) : value_(value) {}
  static constexpr Id none() { return Id(); }

  constexpr Int value() const { return value_; }
  constexpr bool is_none() const { return value_ < 0; }

  /// The value as a subscript. Requires: not none.
  constexpr std::size_t index() const { return static_cast<std::size_t>(value_); }

  friend constexpr bool operator==(Id, Id) = default;
  friend constexpr std::strong_ordering operator<=>(Id, Id) = default;

 private:
  Int value_ = -1;
};

}  // namespace orrery

template <class Tag, class Int>
struct std::hash<orrery::Id<Tag, Int>> {
  std::size_t operator()(orrery::Id<Tag, Int> id) const noexcept { return std::hash<Int>()(id.value()); }
};
