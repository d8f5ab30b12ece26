// SPDX-License-Identifier: Apache-2.0
// One line of JSON for each thing measured, with the clock and the power that the driver states just after it.
#pragma once

#include "nvml.h"
#include "timer.h"

#include <cstdio>
#include <initializer_list>
#include <string>
#include <utility>

namespace gpu_points {

class Report {
 public:
  explicit Report(const char* file);
  ~Report();

  /// A point of calibration/1; `shape` is its JSON.
  void point(const char* op, const char* pass, const char* dtype, const std::string& shape, const Sample& sample);
  /// Anything else: its kind, a name and numbers.
  void row(const char* kind, const std::string& name, std::initializer_list<std::pair<const char*, double>> numbers);
  void text(const char* kind, const std::string& name, const std::string& value);

  const Nvml& nvml() const { return nvml_; }

 private:
  std::FILE* file_;
  Nvml nvml_;
};

}  // namespace gpu_points
