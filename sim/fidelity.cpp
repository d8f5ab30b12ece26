// SPDX-License-Identifier: Apache-2.0
#include "sim/fidelity.h"

#include "base/errors.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <string_view>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace orrery::sim {
namespace {

Fidelity fidelity_of(std::string_view name, std::string_view setting) {
  const auto* found = std::ranges::find(kFidelityNames, name, &Named<Fidelity>::name);
  if (found != std::end(kFidelityNames)) return found->value;
  throw ConfigError(fmt::format("--fidelity: expected L0, L1, L2 or L3, got {} in {}", name, setting));
}

OpCode communication_of(std::string_view name) {
  if (const std::optional<OpCode> op = op_code_of(name); op && is_communication(*op)) return *op;
  throw ConfigError(fmt::format("--fidelity: expected the name of a communication, got {}", name),
                    "the table of communications that orrery simulate prints has them, such as moe.dispatch");
}

}  // namespace

Fidelity Fidelities::of(OpCode op) const {
  const auto named = of_op_.find(op);
  return named == of_op_.end() ? default_ : named->second;
}

Fidelities Fidelities::parse(const std::vector<std::string>& settings) {
  Fidelities fidelities;
  for (const std::string_view setting : settings) {
    const std::size_t equals = setting.find('=');
    if (equals == std::string_view::npos) {
      fidelities.default_ = fidelity_of(setting, setting);
    } else {
      fidelities.of_op_[communication_of(setting.substr(0, equals))] = fidelity_of(setting.substr(equals + 1), setting);
    }
  }
  return fidelities;
}

std::vector<std::string> Fidelities::settings() const {
  std::vector<std::string> settings = {std::string(name_of(kFidelityNames, default_))};
  for (const auto& [op, fidelity] : of_op_) {
    settings.push_back(fmt::format("{}={}", name_of(op), name_of(kFidelityNames, fidelity)));
  }
  return settings;
}

std::string Fidelities::text() const { return fmt::format("{}", fmt::join(settings(), ", ")); }

}  // namespace orrery::sim
