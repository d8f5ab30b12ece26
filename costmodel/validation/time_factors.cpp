// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/time_factors.h"

#include "base/files.h"
#include "base/json_reader.h"
#include "base/json_writer.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include <fmt/format.h>

namespace orrery::costmodel {
namespace {

constexpr std::pair<std::string_view, std::string_view> kFamilies[] = {
    {"a100", "ampere"}, {"h", "hopper"}, {"b", "blackwell"}, {"gb", "blackwell"}, {"mi3", "cdna"}};

/// To four digits: more would be noise.
double rounded(double factor) { return std::stod(fmt::format("{:.4g}", factor)); }

double factor_of(const JsonValue& value) { return value.number({.min = 1e-3, .max = 1e3}); }

}  // namespace

Calibration with_knobs(Calibration base, const Knobs& knobs) {
  const auto factor = [&](Knob knob) { return std::exp(knobs[static_cast<std::size_t>(knob)]); };
  KernelParameters kernels = base.kernels.value_or(KernelParameters{});
  const auto multiply = [&](double& fraction, Knob knob) { fraction = std::min(1.0, fraction * factor(knob)); };
  multiply(kernels.matmul, Knob::matmul);
  multiply(kernels.matmul_fp8, Knob::matmul_fp8);
  multiply(kernels.grouped, Knob::grouped);
  multiply(kernels.attention_forward, Knob::attention);
  multiply(kernels.attention_backward, Knob::attention);
  multiply(kernels.memory, Knob::memory);
  multiply(kernels.network, Knob::network);
  kernels.kernel = kernels.kernel * factor(Knob::kernel);
  kernels.dispatch = kernels.dispatch * factor(Knob::dispatch);
  base.kernels = std::move(kernels);
  return base;
}

std::string family_of(std::string_view device) {
  for (const auto& [prefix, family] : kFamilies) {
    if (device.starts_with(prefix)) return std::string(family);
  }
  return std::string(device);
}

std::array<std::string, 3> owners_of(std::string_view device, std::string_view framework) {
  return {"family " + family_of(device), fmt::format("device {}", device), fmt::format("framework {}", framework)};
}

Knobs TimeFactors::knobs(std::string_view device, std::string_view framework) const {
  Knobs out{};
  for (const std::string& owner : owners_of(device, framework)) {
    const auto found = of.find(owner);
    if (found == of.end()) continue;
    for (std::size_t k = 0; k < kNumKnobs; ++k) out[k] += found->second[k];
  }
  return out;
}

double TimeFactors::release_of(const std::string& software) const {
  const auto found = release.find(software);
  return found == release.end() ? 0.0 : found->second;
}

Calibration with_factors(const Calibration& base, const TimeFactors& factors, std::string_view device,
                         std::string_view framework) {
  Calibration out = with_knobs(base, factors.knobs(device, framework));
  out.kernels->source = fmt::format("{}; factors of training with {}: {}", base.kernels ? base.kernels->source : "",
                                    framework, factors.source);
  const auto found = factors.interval.find(std::string(framework));
  if (found != factors.interval.end()) out.interval = found->second;
  return out;
}

TimeFactors read_time_factors_text(const std::string& text, const std::string& file) {
  JsonDocument document = JsonDocument::parse_text(text, file);
  const JsonObject& in = document.root();
  in.schema("time_factors/1");
  TimeFactors out;
  out.source = in.required("source").string();
  const JsonObject of = in.required("factors").object();
  for (const std::string& owner : of.keys()) {
    const JsonObject knobs = of.required(owner).object();
    for (std::size_t k = 0; k < kNumKnobs; ++k) {
      out.of[owner][k] = std::log(factor_of(knobs.required(kKnobNames[k])));
    }
    knobs.finish();
  }
  of.finish();
  const JsonObject releases = in.required("releases").object();
  for (const std::string& release : releases.keys()) {
    out.release[release] = std::log(factor_of(releases.required(release)));
  }
  releases.finish();
  const JsonObject intervals = in.required("intervals").object();
  for (const std::string& framework : intervals.keys()) {
    const JsonObject interval = intervals.required(framework).object();
    out.interval[framework] = {.low = factor_of(interval.required("low")),
                               .high = factor_of(interval.required("high")),
                               .num_runs = interval.required("runs").integer({.min = 1})};
    interval.finish();
  }
  intervals.finish();
  in.finish();
  document.throw_if_problems();
  return out;
}

TimeFactors read_time_factors(const std::filesystem::path& path) {
  return read_time_factors_text(read_file(path.string()), path.string());
}

std::string to_json(const TimeFactors& factors) {
  JsonWriter out;
  out.begin_object().field("schema", "time_factors/1").field("source", factors.source).key("factors").begin_object();
  for (const auto& [owner, knobs] : factors.of) {
    out.key(owner).begin_object();
    for (std::size_t k = 0; k < kNumKnobs; ++k) out.field(kKnobNames[k], rounded(std::exp(knobs[k])));
    out.end_object();
  }
  out.end_object().key("releases").begin_object();
  for (const auto& [release, factor] : factors.release) out.field(release, rounded(std::exp(factor)));
  out.end_object().key("intervals").begin_object();
  for (const auto& [framework, interval] : factors.interval) {
    out.key(framework).begin_object();
    out.field("low", rounded(interval.low)).field("high", rounded(interval.high)).field("runs", interval.num_runs);
    out.end_object();
  }
  out.end_object().end_object();
  return out.text();
}

}  // namespace orrery::costmodel
