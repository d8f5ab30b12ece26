// SPDX-License-Identifier: Apache-2.0
#include "base/units_format.h"

#include <algorithm>
#include <cmath>
#include <span>

namespace orrery {
namespace {

/// A unit of readable output and its size in SI.
struct ReadableUnit {
  const char* name;
  double size;
};

// Largest first. Times beyond two hours are read in hours, beyond two days in days.
constexpr double kSmallestReadable = 0.9995;  // what three digits round to 1.00
constexpr ReadableUnit kTimes[] = {{"s", 1.0}, {"ms", 1e-3}, {"us", 1e-6}, {"ns", 1e-9}};
constexpr ReadableUnit kFrequencies[] = {{"GHz", 1e9}, {"MHz", 1e6}, {"kHz", 1e3}, {"Hz", 1.0}};
constexpr ReadableUnit kSizes[] = {{"TiB", 0x1p40}, {"GiB", 0x1p30}, {"MiB", 0x1p20}, {"KiB", 0x1p10}, {"B", 1.0}};
constexpr ReadableUnit kWork[] = {{"EFLOP", 1e18}, {"PFLOP", 1e15}, {"TFLOP", 1e12},
                                  {"GFLOP", 1e9},  {"MFLOP", 1e6},  {"FLOP", 1.0}};
constexpr ReadableUnit kEnergies[] = {{"GJ", 1e9}, {"MJ", 1e6}, {"kJ", 1e3}, {"J", 1.0}, {"mJ", 1e-3}};
constexpr ReadableUnit kPowers[] = {{"MW", 1e6}, {"kW", 1e3}, {"W", 1.0}, {"mW", 1e-3}};
constexpr ReadableUnit kBandwidths[] = {{"TB/s", 1e12}, {"GB/s", 1e9}, {"MB/s", 1e6}, {"kB/s", 1e3}, {"B/s", 1.0}};
constexpr ReadableUnit kRates[] = {{"EFLOP/s", 1e18}, {"PFLOP/s", 1e15}, {"TFLOP/s", 1e12},
                                   {"GFLOP/s", 1e9},  {"MFLOP/s", 1e6},  {"FLOP/s", 1.0}};

std::string three_digits(double x) {
  if (!std::isfinite(x)) return fmt::format("{}", x);
  const double size = std::abs(x);
  const int decimals = size < 9.995 ? 2 : size < 99.95 ? 1 : 0;
  return fmt::format("{:.{}f}", x, decimals);
}

std::string readable(double x, std::span<const ReadableUnit> units) {
  if (x == 0.0)
    return fmt::format("0 {}", std::find_if(units.begin(), units.end(), [](const ReadableUnit& unit) {
                                 return unit.size == 1.0;
                               })->name);
  for (const ReadableUnit& unit : units) {
    if (std::abs(x) >= kSmallestReadable * unit.size)
      return fmt::format("{} {}", three_digits(x / unit.size), unit.name);
  }
  return fmt::format("{:.3g} {}", x / units.back().size, units.back().name);
}

}  // namespace

std::string to_text(Seconds x) {
  const double hours = x.in(unit::hour);
  if (std::abs(hours) >= 48.0) return fmt::format("{} days", three_digits(hours / 24.0));
  if (std::abs(hours) >= 2.0) return fmt::format("{} h", three_digits(hours));
  return readable(x.in(unit::second), kTimes);
}

std::string to_text(Bytes x) {
  const double count = x.in(unit::byte);
  if (std::abs(count) < 1024.0 && count == std::floor(count)) return fmt::format("{:.0f} B", count);
  return readable(count, kSizes);
}

std::string to_text(Hertz x) { return readable(x.in(unit::hertz), kFrequencies); }
std::string to_text(Flops x) { return readable(x.in(unit::flop), kWork); }
std::string to_text(Joules x) { return readable(x.in(unit::joule), kEnergies); }
std::string to_text(Watts x) { return readable(x.in(unit::watt), kPowers); }
std::string to_text(BytesPerSecond x) { return readable(x.in(unit::byte_per_second), kBandwidths); }
std::string to_text(FlopsPerSecond x) { return readable(x.in(unit::flop_per_second), kRates); }

}  // namespace orrery
