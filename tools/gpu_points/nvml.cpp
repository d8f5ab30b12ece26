// SPDX-License-Identifier: Apache-2.0
#include "nvml.h"

#include <cmath>

#include <dlfcn.h>

namespace gpu_points {
namespace {

constexpr unsigned kClockOfSm = 1, kClockOfMemory = 2, kTemperatureOfGpu = 0;

}  // namespace

template <class F>
F Nvml::symbol(const char* name) const {
  return library_ == nullptr ? nullptr : reinterpret_cast<F>(dlsym(library_, name));
}

Nvml::Nvml() {
  library_ = dlopen("libnvidia-ml.so.1", RTLD_NOW);
  if (auto* init = symbol<int (*)()>("nvmlInit_v2"); init == nullptr || init() != 0) return;
  if (auto* get = symbol<int (*)(unsigned, void**)>("nvmlDeviceGetHandleByIndex_v2")) get(0, &device_);
}

double Nvml::unsigned_value(const char* name) const {
  auto* get = symbol<int (*)(void*, unsigned*)>(name);
  unsigned value = 0;
  return get != nullptr && device_ != nullptr && get(device_, &value) == 0 ? value : std::nan("");
}

std::string Nvml::driver() const {
  char text[80] = "";
  if (auto* get = symbol<int (*)(char*, unsigned)>("nvmlSystemGetDriverVersion")) get(text, sizeof(text));
  return text;
}

double Nvml::power_limit() const { return unsigned_value("nvmlDeviceGetEnforcedPowerLimit") * 1e-3; }

double Nvml::power() const { return unsigned_value("nvmlDeviceGetPowerUsage") * 1e-3; }

double Nvml::energy() const {
  auto* get = symbol<int (*)(void*, unsigned long long*)>("nvmlDeviceGetTotalEnergyConsumption");
  unsigned long long millijoules = 0;
  return get != nullptr && device_ != nullptr && get(device_, &millijoules) == 0
             ? static_cast<double>(millijoules) * 1e-3
             : std::nan("");
}

double Nvml::sm_clock() const {
  auto* get = symbol<int (*)(void*, unsigned, unsigned*)>("nvmlDeviceGetClockInfo");
  unsigned value = 0;
  return get != nullptr && device_ != nullptr && get(device_, kClockOfSm, &value) == 0 ? value : std::nan("");
}

double Nvml::memory_clock() const {
  auto* get = symbol<int (*)(void*, unsigned, unsigned*)>("nvmlDeviceGetClockInfo");
  unsigned value = 0;
  return get != nullptr && device_ != nullptr && get(device_, kClockOfMemory, &value) == 0 ? value : std::nan("");
}

double Nvml::temperature() const {
  auto* get = symbol<int (*)(void*, unsigned, unsigned*)>("nvmlDeviceGetTemperature");
  unsigned value = 0;
  return get != nullptr && device_ != nullptr && get(device_, kTemperatureOfGpu, &value) == 0 ? value : std::nan("");
}

unsigned long long Nvml::throttled() const {
  auto* get = symbol<int (*)(void*, unsigned long long*)>("nvmlDeviceGetCurrentClocksThrottleReasons");
  unsigned long long reasons = 0;
  if (get != nullptr && device_ != nullptr) get(device_, &reasons);
  return reasons;
}

}  // namespace gpu_points
