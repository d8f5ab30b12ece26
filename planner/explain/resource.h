// SPDX-License-Identifier: Apache-2.0
// What a step is made of on the side of the machine: the numbers of which one asks "and if it were better?".
#pragma once

#include "base/enum_names.h"

#include <array>
#include <cstdint>

namespace orrery::planner {

enum class Resource : std::uint8_t {
  arithmetic,        // peak rate of products
  memory_bandwidth,  // of a device
  scale_up,          // bandwidth within a domain: NVLink, xGMI
  network,           // bandwidth of NICs and of the switches above them
  host_link,         // between a device and its host
  launch,            // time that a host needs for a kernel, and a kernel to start
  latency            // of every communication
};

inline constexpr Named<Resource> kResourceNames[] = {{"arithmetic", Resource::arithmetic},
                                                     {"memory bandwidth", Resource::memory_bandwidth},
                                                     {"scale-up bandwidth", Resource::scale_up},
                                                     {"network bandwidth", Resource::network},
                                                     {"host link bandwidth", Resource::host_link},
                                                     {"launch overhead", Resource::launch},
                                                     {"latency", Resource::latency}};

/// More of it takes less time. Of the others, which are times themselves, more takes longer.
constexpr bool is_rate(Resource resource) { return resource != Resource::launch && resource != Resource::latency; }

}  // namespace orrery::planner
