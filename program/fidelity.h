// SPDX-License-Identifier: Apache-2.0
// In which detail a simulation shows a communication; more detail costs more time (docs/design/simgrid.md). A plan may
// say it, and so may whoever simulates. The program and its closed forms are the same at every level.
#pragma once

#include "base/enum_names.h"
#include "program/op_key.h"

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace orrery {

/// `l0`: its closed form, as if it were alone on its links. `l1`: flows, one per node and path class, which carry what
/// all its members on that node send. `l2`: a flow for each pair of nodes, with the bytes of that pair. `l3`: a flow
/// for each pair of devices, over the ports of the devices. Communication over shared memory always runs in closed
/// form, since there is no link and compute slows it down.
enum class Fidelity : std::uint8_t { l0, l1, l2, l3 };

inline constexpr Named<Fidelity> kFidelityNames[] = {
    {"L0", Fidelity::l0}, {"L1", Fidelity::l1}, {"L2", Fidelity::l2}, {"L3", Fidelity::l3}};

/// The fidelity of each communication, by the name of its op.
struct Fidelities {
  Fidelities() = default;
  // A number for all is the usual case.
  Fidelities(Fidelity all) : of_others(all) {}  // NOLINT(google-explicit-constructor)
  Fidelities(Fidelity others, std::map<OpCode, Fidelity> some) : of_others(others), of_op(std::move(some)) {}

  Fidelity of(OpCode op) const;

  /// Settings of a command line go over what is there, the last one of each wins: "L1" for all that is not named,
  /// "moe.dispatch=L3" for one op. Throws: ConfigError with what was expected.
  void set(const std::vector<std::string>& settings);
  /// What set() would make of the default: "L1, moe.dispatch=L3".
  std::string text() const;

  bool operator==(const Fidelities&) const = default;

  Fidelity of_others = Fidelity::l1;  // what of_op does not name
  std::map<OpCode, Fidelity> of_op;
};

}  // namespace orrery
