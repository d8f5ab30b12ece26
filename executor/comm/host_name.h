// SPDX-License-Identifier: Apache-2.0
// What this host calls itself.
#pragma once

#include <string>

#include <unistd.h>

namespace orrery::executor {

inline std::string own_host_name() {
  char name[256] = {};
  ::gethostname(name, sizeof name - 1);
  return name;
}

}  // namespace orrery::executor
