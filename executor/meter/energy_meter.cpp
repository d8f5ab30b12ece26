// SPDX-License-Identifier: Apache-2.0
#include "executor/meter/energy_meter.h"

#include <fstream>
#include <system_error>

namespace orrery::executor {
namespace {

std::optional<double> number_in(const std::filesystem::path& file) {
  std::ifstream in(file);
  double value = 0.0;
  if (!(in >> value)) return std::nullopt;
  return value;
}

/// "intel-rapl:0" is a package; "intel-rapl:0:1" a part of one, which the package counts already.
bool is_package(const std::string& name) {
  return name.starts_with("intel-rapl:") && name.find(':', std::string("intel-rapl:").size()) == std::string::npos;
}

}  // namespace

EnergyMeter::EnergyMeter(const std::filesystem::path& root) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(root, error)) {
    if (!is_package(entry.path().filename().string())) continue;
    const auto value = number_in(entry.path() / "energy_uj");
    const auto range = number_in(entry.path() / "max_energy_range_uj");
    if (!value || !range) {
      counters_.clear();  // a machine that is metered in part is not metered
      return;
    }
    counters_.push_back({.file = entry.path() / "energy_uj", .range = *range, .last = *value});
  }
}

std::optional<Joules> EnergyMeter::read() {
  if (!available()) return std::nullopt;
  double total = 0.0;
  for (Counter& counter : counters_) {
    const auto value = number_in(counter.file);
    if (!value) return std::nullopt;
    const double step = *value - counter.last;
    counter.total += step >= 0.0 ? step : step + counter.range;
    counter.last = *value;
    total += counter.total;
  }
  return joules(total * 1e-6);
}

}  // namespace orrery::executor
