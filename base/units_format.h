// SPDX-License-Identifier: Apache-2.0
// Readable quantities: at least three significant digits and a fitting prefix, "1.54 ms", "72.3 GiB", "400 GB/s",
// "385 TFLOP/s". `fmt::format("{}", time)` works with any width: "{:>12}". Sizes are in powers of 1024, rates in
// powers of 1000. Text that must read back exactly is `exact_text` of units_parse.h.
#pragma once

#include "base/units.h"

#include <string>
#include <string_view>

#include <fmt/format.h>

namespace orrery {

std::string to_text(Seconds x);
std::string to_text(Hertz x);
std::string to_text(Bytes x);
std::string to_text(Flops x);
std::string to_text(Joules x);
std::string to_text(Watts x);
std::string to_text(BytesPerSecond x);
std::string to_text(FlopsPerSecond x);

}  // namespace orrery

template <int T, int D, int F, int E>
struct fmt::formatter<orrery::Quantity<T, D, F, E>> : fmt::formatter<std::string_view> {
  template <class Context>
  auto format(orrery::Quantity<T, D, F, E> x, Context& context) const {
    return fmt::formatter<std::string_view>::format(orrery::to_text(x), context);
  }
};
