// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/time_factors.h"

#include "base/files.h"
#include "base/json_reader.h"
#include "base/json_writer.h"
#include "costmodel/calibration_parts.h"
#include "costmodel/collective_fit.h"
#include "costmodel/factored_shares.h"
#include "costmodel/framework.h"

#include <cmath>
#include <optional>
#include <string>
#include <utility>

#include <fmt/format.h>

namespace orrery::costmodel {
namespace {

constexpr std::pair<std::string_view, std::string_view> kFamilies[] = {
    {"a100", "ampere"}, {"h", "hopper"}, {"b", "blackwell"}, {"gb", "blackwell"}, {"mi3", "cdna"}};

std::vector<TrainingResidual> read_residuals(const JsonValue& in) {
  const auto errors = [](const JsonObject& object) {
    TrainingResidual::Errors out{.mean = object.required("mean").number({.min = 0.0}),
                                 .median = object.required("median").number({.min = 0.0}),
                                 .bias = object.required("bias").number()};
    object.finish();
    return out;
  };
  std::vector<TrainingResidual> out;
  for (const JsonValue& value : in.array()) {
    const JsonObject object = value.object();
    out.push_back({.group = object.required("group").string(),
                   .gpu = object.required("gpu").string(),
                   .is_moe = object.required("kind").one_of({"dense", "moe"}) == "moe",
                   .num_runs = object.required("runs").integer({.min = 1}),
                   .fitted = errors(object.required("fitted").object()),
                   .held_out = errors(object.required("held_out").object())});
    object.finish();
  }
  return out;
}

void write(JsonWriter& out, const std::vector<TrainingResidual>& residuals) {
  const auto write_errors = [&](std::string_view key, const TrainingResidual::Errors& errors) {
    out.key(key).begin_object().field("mean", rounded_factor(errors.mean));
    out.field("median", rounded_factor(errors.median)).field("bias", rounded_factor(errors.bias)).end_object();
  };
  out.begin_array();
  for (const TrainingResidual& of : residuals) {
    out.begin_object().field("group", of.group).field("gpu", of.gpu).field("kind", of.is_moe ? "moe" : "dense");
    out.field("runs", of.num_runs);
    write_errors("fitted", of.fitted);
    write_errors("held_out", of.held_out);
    out.end_object();
  }
  out.end_array();
}

}  // namespace

std::string family_of(std::string_view device) {
  for (const auto& [prefix, family] : kFamilies) {
    if (device.starts_with(prefix)) return std::string(family);
  }
  return std::string(device);
}

std::array<std::string, 3> owners_of(std::string_view device, std::string_view framework) {
  return {"family " + family_of(device), fmt::format("device {}", device), fmt::format("framework {}", framework)};
}

std::string interval_name(std::string_view framework, bool is_moe) {
  return fmt::format("{}{}", framework, is_moe ? " MoE" : "");
}

std::string residuals_name(std::string_view device, std::string_view framework) {
  return fmt::format("{} {}", device, framework);
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
  Calibration out = base;
  if (!out.kernels) out.kernels.emplace().source = "no table of kernels: numbers between those of A100, H100 and B200";
  out.factors = without_excess(*out.kernels, factors.knobs(device, framework));
  out.kernels = with_kernels_of(framework_named(framework), *out.kernels);
  out.kernels->source =
      fmt::format("{}; factors of training with {}: {}", out.kernels->source, framework, factors.source);
  const auto interval_of = [&](bool is_moe) -> std::optional<Interval> {
    const auto found = factors.interval.find(interval_name(framework, is_moe));
    return found == factors.interval.end() ? std::nullopt : std::optional(found->second);
  };
  out.interval = interval_of(false);
  out.interval_moe = interval_of(true);
  out.fits = fitted(out.collectives);
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
    out.of[owner] = read_knobs(of.required(owner).object());
  }
  of.finish();
  const JsonObject releases = in.required("releases").object();
  for (const std::string& release : releases.keys()) {
    out.release[release] = std::log(releases.required(release).number({.min = 1e-3, .max = 1e3}));
  }
  releases.finish();
  const JsonObject intervals = in.required("intervals").object();
  for (const std::string& framework : intervals.keys()) {
    out.interval[framework] = read_interval(intervals.required(framework).object());
  }
  intervals.finish();
  if (const auto residuals = in.optional("residuals").object()) {
    for (const std::string& name : residuals->keys()) out.residuals[name] = read_residuals(residuals->required(name));
    residuals->finish();
  }
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
  for (const auto& [owner, knobs] : factors.of) write(out.key(owner), knobs);
  out.end_object().key("releases").begin_object();
  for (const auto& [release, factor] : factors.release) out.field(release, rounded_factor(std::exp(factor)));
  out.end_object().key("intervals").begin_object();
  for (const auto& [framework, interval] : factors.interval) write(out.key(framework), interval);
  out.end_object();
  if (!factors.residuals.empty()) {
    out.key("residuals").begin_object();
    for (const auto& [name, residuals] : factors.residuals) write(out.key(name), residuals);
    out.end_object();
  }
  out.end_object();
  return out.text();
}

}  // namespace orrery::costmodel
