// SPDX-License-Identifier: Apache-2.0
// What the driver says of the device, through NVML's library, which is loaded at run time: the toolkit has no header of
// it. A question that this device does not answer gives NaN or "".
#pragma once

#include <string>

namespace gpu_points {

class Nvml {
 public:
  Nvml();

  std::string driver() const;
  double power_limit() const;  // W, enforced
  double power() const;        // W, as the driver averages
  double energy() const;       // J since the driver was loaded
  double sm_clock() const;     // MHz
  double memory_clock() const;
  double temperature() const;            // degrees Celsius
  unsigned long long throttled() const;  // bits of the reasons why clocks are below their maximum

 private:
  template <class F>
  F symbol(const char* name) const;
  double unsigned_value(const char* name) const;

  void* library_ = nullptr;
  void* device_ = nullptr;
};

}  // namespace gpu_points
