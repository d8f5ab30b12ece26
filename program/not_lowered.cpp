// SPDX-License-Identifier: Apache-2.0
#include "program/not_lowered.h"

#include <fmt/format.h>

namespace orrery {

std::vector<Violation> not_lowered(const Model& /*model*/, const Strategy& s) {
  std::vector<Violation> out;
  if (s.order != Strategy().order) {
    out.push_back({.key = "order",
                   .expected = fmt::format("expected \"{}\", got \"{}\": other rank orders are not lowered yet",
                                           Strategy().order, s.order),
                   .hint = "the device of each rank, in the plan's placement, says the same"});
  }
  return out;
}

}  // namespace orrery
