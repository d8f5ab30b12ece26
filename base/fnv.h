// SPDX-License-Identifier: Apache-2.0
// FNV-1a, 64 bits, of Fowler, Noll and Vo: names to streams and places, and a checksum against bits that flip on their
// way. Every byte is mixed in by a bijection, so a changed byte changes the result. No protection against intent.
#pragma once

#include <cstdint>
#include <string_view>

namespace orrery {

constexpr std::uint64_t fnv1a(std::string_view bytes) {
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (const char byte : bytes) hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3U;
  return hash;
}

}  // namespace orrery
