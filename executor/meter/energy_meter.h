// SPDX-License-Identifier: Apache-2.0
// Energy that this machine's CPU packages have used, from the counters of the kernel (RAPL through powercap). Virtual
// machines seldom have them: then there is no counter, which is not the same as zero joules.
#pragma once

#include "base/units.h"

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace orrery::executor {

class EnergyMeter {
 public:
  /// Looks for package counters below `root`. Source of the layout: Linux, Documentation/power/powercap.
  explicit EnergyMeter(const std::filesystem::path& root = "/sys/class/powercap");

  /// Whether every counter that was found can be read.
  bool available() const { return !counters_.empty(); }
  /// Energy of all packages since the meter was made; nothing without counters.
  std::optional<Joules> read();

 private:
  struct Counter {
    std::filesystem::path file;
    double range = 0.0;  // microjoules after which the counter starts again at 0
    double last = 0.0, total = 0.0;
  };
  std::vector<Counter> counters_;
};

}  // namespace orrery::executor
