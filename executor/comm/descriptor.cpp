// SPDX-License-Identifier: Apache-2.0
#include "executor/comm/descriptor.h"

#include <unistd.h>

namespace orrery::executor {

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  close();
  number_ = std::exchange(other.number_, -1);
  return *this;
}

void Descriptor::close() {
  if (is_open()) ::close(std::exchange(number_, -1));
}

}  // namespace orrery::executor
