// SPDX-License-Identifier: Apache-2.0
// How much memory this process has taken from the machine since a moment: what the counts of tensors are held against.
// Linux says what is resident now and the most that ever was, which it forgets when it is told to.
#pragma once

#include "base/units.h"

#include <optional>

namespace orrery::executor {

class ResidentMeter {
 public:
  /// From now on.
  ResidentMeter();

  /// The most that was resident since then, less what was then; nothing where Linux does not say.
  std::optional<Bytes> most() const;

 private:
  std::optional<Bytes> before_;
};

}  // namespace orrery::executor
