// SPDX-License-Identifier: Apache-2.0
// How a communication is represented on SimGrid; more detail costs more time (docs/design/simgrid.md).
#pragma once

#include "base/enum_names.h"
#include "program/op_key.h"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace orrery::sim {

/// `l0`: its closed form, as if it were alone on its links. `l1`: flows, one per node and path class, which carry what
/// all its members on that node send. `l2`: a flow for each pair of nodes, with the bytes of that pair. `l3`: a flow
/// for each pair of devices, over the ports of the devices. Communication over shared memory always runs in closed
/// form, since there is no link and compute slows it down.
enum class Fidelity : std::uint8_t { l0, l1, l2, l3 };

inline constexpr Named<Fidelity> kFidelityNames[] = {
    {"L0", Fidelity::l0}, {"L1", Fidelity::l1}, {"L2", Fidelity::l2}, {"L3", Fidelity::l3}};

/// The fidelity of each communication, by the name of its op.
class Fidelities {
 public:
  Fidelities() = default;
  // A number for all is the usual case.
  Fidelities(Fidelity all) : default_(all) {}  // NOLINT(google-explicit-constructor)

  Fidelity of(OpCode op) const;

  /// "L1" for all that is not named, "moe.dispatch=L3" for one op; as text() gives them.
  /// Throws: ConfigError with what was expected.
  static Fidelities parse(const std::vector<std::string>& settings);
  std::vector<std::string> settings() const;
  /// The settings with commas.
  std::string text() const;

 private:
  Fidelity default_ = Fidelity::l1;
  std::map<OpCode, Fidelity> of_op_;
};

}  // namespace orrery::sim
