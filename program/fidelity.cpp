// SPDX-License-Identifier: Apache-2.0
#include "program/fidelity.h"

#include "base/errors.h"
#include "program/json_parts.h"

#include <optional>
#include <string_view>

#include <fmt/format.h>

namespace orrery {
namespace {

Fidelity fidelity_of(std::string_view name, std::string_view setting) {
  if (const auto found = find_named(kFidelityNames, name)) return *found;
  throw ConfigError(fmt::format("--fidelity: expected L0, L1, L2 or L3, got {} in {}", name, setting));
}

OpCode communication_of(std::string_view name) {
  if (const std::optional<OpCode> op = op_code_of(name); op && is_communication(*op)) return *op;
  throw ConfigError(fmt::format("--fidelity: expected the name of a communication, got {}", name),
                    "the table of communications that orrery simulate prints has them, such as moe.dispatch");
}

}  // namespace

Fidelity Fidelities::of(OpCode op) const {
  const auto named = of_op.find(op);
  return named == of_op.end() ? of_others : named->second;
}

void Fidelities::set(const std::vector<std::string>& settings) {
  for (const std::string_view setting : settings) {
    const std::size_t equals = setting.find('=');
    if (equals == std::string_view::npos) {
      of_others = fidelity_of(setting, setting);
    } else {
      of_op[communication_of(setting.substr(0, equals))] = fidelity_of(setting.substr(equals + 1), setting);
    }
  }
}

std::string Fidelities::text() const {
  std::string text(name_of(kFidelityNames, of_others));
  for (const auto& [op, fidelity] : of_op) {
    text += fmt::format(", {}={}", name_of(op), name_of(kFidelityNames, fidelity));
  }
  return text;
}

Fidelities read_fidelities(const JsonObject& in) {
  Fidelities fidelities;
  if (const auto level = in.optional("default").one_of<Fidelity>(kFidelityNames)) fidelities.of_others = *level;
  for (int code = 0; code < kNumOpCodes; ++code) {
    const auto op = static_cast<OpCode>(code);
    if (!is_communication(op)) continue;
    if (const auto level = in.optional(name_of(op)).one_of<Fidelity>(kFidelityNames)) fidelities.of_op[op] = *level;
  }
  in.finish();
  return fidelities;
}

void write_fidelities(JsonWriter& out, const Fidelities& fidelities) {
  out.begin_object().field("default", name_of(kFidelityNames, fidelities.of_others));
  for (const auto& [op, fidelity] : fidelities.of_op) out.field(name_of(op), name_of(kFidelityNames, fidelity));
  out.end_object();
}

}  // namespace orrery
