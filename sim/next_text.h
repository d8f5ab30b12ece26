// SPDX-License-Identifier: Apache-2.0
// Texts of a stated size, one after the other: how the simulation and its worker put what they say into one stream.
#pragma once

#include <cstddef>
#include <istream>
#include <string>

namespace orrery::sim {

/// The next `size` bytes, or what there is.
inline std::string next_text(std::istream& in, std::size_t size) {
  std::string text(size, '\0');
  in.read(text.data(), static_cast<std::streamsize>(size));
  text.resize(static_cast<std::size_t>(in.gcount()));
  return text;
}

}  // namespace orrery::sim
