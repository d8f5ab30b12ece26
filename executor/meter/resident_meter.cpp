// SPDX-License-Identifier: Apache-2.0
#include "executor/meter/resident_meter.h"

#include <fstream>
#include <sstream>
#include <string>
#include <string_view>

namespace orrery::executor {
namespace {

/// A line of /proc/self/status such as "VmRSS:     1234 kB".
std::optional<Bytes> status(std::string_view name) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(name)) continue;
    std::istringstream rest(line.substr(name.size()));
    double size = 0.0;
    std::string unit;
    if (rest >> size >> unit && unit == "kB") return kib(size);
  }
  return std::nullopt;
}

/// Makes "VmHWM" that of now. Source: proc(5), /proc/pid/clear_refs.
bool forget_most() {
  std::ofstream file("/proc/self/clear_refs");
  return static_cast<bool>(file << 5 << std::flush);
}

}  // namespace

ResidentMeter::ResidentMeter() {
  if (forget_most()) before_ = status("VmRSS:");
}

std::optional<Bytes> ResidentMeter::most() const {
  const std::optional<Bytes> most = status("VmHWM:");
  if (!before_ || !most) return std::nullopt;
  return *most - *before_;
}

}  // namespace orrery::executor
