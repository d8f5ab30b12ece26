// SPDX-License-Identifier: Apache-2.0
#include "executor/runtime/routing.h"

#include <algorithm>

namespace orrery::executor {

std::vector<std::int32_t> chosen_of(std::span<const std::uint8_t> choices, std::int64_t num_experts,
                                    std::int64_t top_k) {
  const auto experts = static_cast<std::size_t>(num_experts), k = static_cast<std::size_t>(top_k);
  const std::size_t tokens = choices.size() / experts;
  std::vector<std::int32_t> chosen(tokens * k);
  for (std::size_t t = 0; t < tokens; ++t) {
    for (std::size_t e = 0; e < experts; ++e) {
      const std::uint8_t choice = choices[t * experts + e];
      if (choice > 0) chosen[t * k + choice - 1] = static_cast<std::int32_t>(e);
    }
  }
  return chosen;
}

void write_choices(std::span<const std::int32_t> chosen, std::int64_t num_experts, std::int64_t top_k,
                   std::span<std::uint8_t> choices) {
  const auto experts = static_cast<std::size_t>(num_experts), k = static_cast<std::size_t>(top_k);
  std::fill(choices.begin(), choices.end(), std::uint8_t{0});
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    choices[i / k * experts + static_cast<std::size_t>(chosen[i])] = static_cast<std::uint8_t>(i % k + 1);
  }
}

}  // namespace orrery::executor
