// SPDX-License-Identifier: Apache-2.0
// The names of an enum's values in files and output: one constexpr table per enum, read in both directions.
//     inline constexpr Named<Schedule> kScheduleNames[] = {{"gpipe", Schedule::gpipe}, {"1f1b",
//     Schedule::one_f_one_b}}; name_of(kScheduleNames, schedule);                              // for a writer
//     in.required("schedule").one_of<Schedule>(kScheduleNames);       // for a reader (json_reader.h)
#pragma once

#include "base/check.h"

#include <cstddef>
#include <optional>
#include <string_view>

namespace orrery {

/// One value of an enum with its name in files.
template <class E>
struct Named {
  std::string_view name;
  E value;
};

/// The name of `value`. Requires: `value` is in the table.
template <class E, std::size_t N>
std::string_view name_of(const Named<E> (&names)[N], E value) {
  for (const Named<E>& named : names) {
    if (named.value == value) return named.name;
  }
  CHECK(false, value);
}

/// The value of that name in the table; nothing if there is none.
template <class E, std::size_t N>
std::optional<E> find_named(const Named<E> (&names)[N], std::string_view name) {
  for (const Named<E>& named : names) {
    if (named.name == name) return named.value;
  }
  return std::nullopt;
}

}  // namespace orrery
