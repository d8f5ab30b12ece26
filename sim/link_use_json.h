// SPDX-License-Identifier: Apache-2.0
// The use of links as text, to the last bit: a simulation worker knows what flowed, and the process that asked prints
// it.
#pragma once

#include "sim/link_use.h"

#include <string>

namespace orrery::sim {

std::string to_json(const UseOfLinks& use);

/// Throws: ConfigError if it is no such text.
UseOfLinks read_use_of_links(const std::string& text);

}  // namespace orrery::sim
