// SPDX-License-Identifier: Apache-2.0
// How a communication is represented on SimGrid; more detail costs more time (docs/design/simgrid.md).
#pragma once

#include "base/enum_names.h"

#include <cstdint>

namespace orrery::sim {

/// `l0`: its closed form, as if it were alone on its links. `l1`: flows, one per node and path class, which carry what
/// all its members on that node send. Communication over shared memory always runs in closed form, since there is no
/// link and compute slows it down.
enum class Fidelity : std::uint8_t { l0, l1 };

inline constexpr Named<Fidelity> kFidelityNames[] = {{"L0", Fidelity::l0}, {"L1", Fidelity::l1}};

}  // namespace orrery::sim
