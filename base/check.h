// SPDX-License-Identifier: Apache-2.0
// CHECK(condition, values...): a promise of our own code, tested in every build. When it is broken an InternalError
// carries the place, the expression and the named values. Never for what a user can get wrong: that is a ConfigError.
//     CHECK(stage < num_stages, stage, num_stages);
//     planner/search.cpp:41: CHECK failed: stage < num_stages (stage = 4, num_stages = 4)
#pragma once

#include "base/ids.h"
#include "base/units.h"

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <string_view>
#include <type_traits>
#include <variant>

namespace orrery::detail {

/// A value to print when a CHECK fails: numbers, text, enums, ids, quantities (in SI units).
class CheckValue {
 public:
  template <class T>
    requires std::signed_integral<T> || std::floating_point<T>
  CheckValue(T value) : value_(static_cast<std::conditional_t<std::integral<T>, std::int64_t, double>>(value)) {}
  CheckValue(std::unsigned_integral auto value) : value_(static_cast<std::uint64_t>(value)) {}
  CheckValue(bool value) : value_(std::string_view(value ? "true" : "false")) {}
  CheckValue(const char* value) : value_(std::string_view(value)) {}
  CheckValue(std::convertible_to<std::string_view> auto const& value) : value_(std::string_view(value)) {}
  template <class E>
    requires std::is_enum_v<E>
  CheckValue(E value) : value_(static_cast<std::int64_t>(value)) {}
  template <class Tag, class Int>
  CheckValue(Id<Tag, Int> id) : CheckValue(id.value()) {}
  template <int T, int D, int F, int E>
  CheckValue(Quantity<T, D, F, E> x) : CheckValue(x.in(x.from_si(1.0))) {}

  const std::variant<std::int64_t, std::uint64_t, double, std::string_view>& get() const { return value_; }

 private:
  std::variant<std::int64_t, std::uint64_t, double, std::string_view> value_;
};

/// Throws: InternalError, always.
[[noreturn]] void check_failed(std::string_view file, int line, std::string_view expression, std::string_view names,
                               std::initializer_list<CheckValue> values);

}  // namespace orrery::detail

#define CHECK(condition, ...)                                                                      \
  do {                                                                                             \
    if (!(condition)) [[unlikely]]                                                                 \
      ::orrery::detail::check_failed(__FILE__, __LINE__, #condition, #__VA_ARGS__, {__VA_ARGS__}); \
  } while (false)
