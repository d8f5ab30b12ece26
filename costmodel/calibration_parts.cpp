// SPDX-License-Identifier: Apache-2.0
#include "costmodel/calibration_parts.h"

#include <cmath>
#include <string>

#include <fmt/format.h>

namespace orrery::costmodel {

Interval read_interval(const JsonObject& in) {
  Interval out{.low = in.required("low").number({.min = 1e-3, .max = 1.0}),
               .high = in.required("high").number({.min = 1.0}),
               .num_runs = in.required("runs").integer({.min = 1})};
  if (const auto devices = in.optional("devices").array()) {
    for (const JsonValue& device : *devices) out.devices.push_back(device.string());
  }
  in.finish();
  return out;
}

Knobs read_knobs(const JsonObject& in) {
  Knobs out{};
  for (std::size_t k = 0; k < kNumKnobs; ++k) {
    out[k] = std::log(in.required(kKnobNames[k]).number({.min = 1e-3, .max = 1e3}));
  }
  in.finish();
  return out;
}

void write(JsonWriter& out, const Interval& interval) {
  out.begin_object().field("low", rounded_factor(interval.low)).field("high", rounded_factor(interval.high));
  out.field("runs", interval.num_runs);
  if (!interval.devices.empty()) {
    out.key("devices").begin_array();
    for (const std::string& device : interval.devices) out.value(device);
    out.end_array();
  }
  out.end_object();
}

void write(JsonWriter& out, const Knobs& knobs) {
  out.begin_object();
  for (std::size_t k = 0; k < kNumKnobs; ++k) out.field(kKnobNames[k], rounded_factor(std::exp(knobs[k])));
  out.end_object();
}

double rounded_factor(double factor) { return std::stod(fmt::format("{:.4g}", factor)); }

}  // namespace orrery::costmodel
