// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/time_factors.h"

#include "base/errors.h"
#include "costmodel/validation/time_intervals.h"
#include "tests/unit/program/reading.h"

#include <cmath>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

constexpr std::size_t kMatmul = static_cast<std::size_t>(Knob::matmul);

TimeFactors some() {
  TimeFactors out;
  out.source = "ten runs";
  out.of["family hopper"][kMatmul] = std::log(0.9);
  out.of["device h800"][kMatmul] = std::log(0.8);
  out.of["framework nanotron"][kMatmul] = std::log(0.5);
  out.release["torch 2.7"] = std::log(1.25);
  out.interval["nanotron"] = {.low = 0.75, .high = 1.5, .num_runs = 10, .devices = {"h100", "h800"}};
  return out;
}

TEST(TimeFactors, MultiplyThoseOfFamilyDeviceAndFramework) {
  EXPECT_NEAR(std::exp(some().knobs("h800", "nanotron")[kMatmul]), 0.9 * 0.8 * 0.5, 1e-12);
  EXPECT_NEAR(std::exp(some().knobs("h100", "nanotron")[kMatmul]), 0.9 * 0.5, 1e-12);
  EXPECT_DOUBLE_EQ(std::exp(some().knobs("mi300x", "megatron")[kMatmul]), 1.0);
  EXPECT_DOUBLE_EQ(some().release_of("another"), 0.0);
}

TEST(TimeFactors, KnowTheFamilyOfEachDeviceOfTheCatalog) {
  for (const char* device : {"a100", "a100-40gb"}) EXPECT_EQ(family_of(device), "ampere");
  for (const char* device : {"h100", "h100-96gb", "h200", "h200-nvl", "h800"}) EXPECT_EQ(family_of(device), "hopper");
  for (const char* device : {"b200", "b300", "gb200", "gb300"}) EXPECT_EQ(family_of(device), "blackwell");
  for (const char* device : {"mi300x", "mi325x", "mi350x", "mi355x"}) EXPECT_EQ(family_of(device), "cdna");
  EXPECT_EQ(family_of("l40s"), "l40s");
}

TEST(TimeFactors, ReadBackAsWritten) {
  const std::string text = to_json(some());
  const TimeFactors back = read_time_factors_text(text, "factors.json");
  EXPECT_EQ(to_json(back), text);
  EXPECT_NEAR(back.of.at("device h800")[kMatmul], std::log(0.8), 1e-4);
  EXPECT_EQ(back.interval.at("nanotron").num_runs, 10);
  EXPECT_EQ(back.interval.at("nanotron").devices, (std::vector<std::string>{"h100", "h800"}));
}

TEST(TimeFactors, RefuseAFactorThatIsMissingOrNotPositive) {
  const std::string text = to_json(some());
  const auto message = [&](const std::string& from, const std::string& to) -> std::string {
    try {
      read_time_factors_text(testing::edited(text, from, to), "factors.json");
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_NE(message("\"source\"", "\"sources\"").find("source"), std::string::npos);
  EXPECT_NE(message("\"device h800\": {", "\"device h800\": {\"pace\": 1,").find("pace"), std::string::npos);
  EXPECT_NE(message("\"torch 2.7\": 1.25", "\"torch 2.7\": 0").find("torch 2.7"), std::string::npos);
}

TEST(WithFactors, ChangesTheNumbersAndKeepsFractionsAtMostOne) {
  Calibration base;
  base.kernels = KernelParameters{};
  base.kernels->matmul = 0.5;
  base.kernels->source = "a table";
  TimeFactors factors = some();
  factors.of["framework nanotron"][static_cast<std::size_t>(Knob::memory)] = std::log(100.0);
  factors.of["framework nanotron"][static_cast<std::size_t>(Knob::dispatch)] = std::log(2.0);
  const Calibration with = with_factors(base, factors, "h800", "nanotron");
  const KernelParameters numbers = *kernels_in_training(with);
  EXPECT_NEAR(numbers.matmul, 0.5 * 0.36, 1e-12);
  EXPECT_DOUBLE_EQ(numbers.memory, 1.0);
  EXPECT_NEAR(numbers.dispatch / base.kernels->dispatch, 2.0, 1e-12);
  EXPECT_EQ(with.kernels->matmul, 0.5);  // as measured: factors stand beside
  EXPECT_EQ(with.kernels->attention, AttentionKernels::flash_2);
  EXPECT_DOUBLE_EQ(with.interval->high, 1.5);
  EXPECT_FALSE(with.interval_moe);
  factors.interval[interval_name("nanotron", true)] = {.low = 0.5, .high = 3.0, .num_runs = 10};
  EXPECT_DOUBLE_EQ(with_factors(base, factors, "h800", "nanotron").interval_moe->high, 3.0);
  EXPECT_DOUBLE_EQ(with_factors(base, factors, "h800", "nanotron").interval->high, 1.5);
  EXPECT_EQ(with.kernels->source, "a table; factors of training with nanotron: ten runs");
}

TEST(TimeFactors, KeepTheResidualsOfTheFitByStratum) {
  TimeFactors factors = some();
  factors.residuals = {{residuals_name("h800", "nanotron"),
                        {{.group = "bench",
                          .gpu = "H800-SXM-80GB",
                          .is_moe = true,
                          .num_runs = 12,
                          .fitted = {.mean = 0.05, .median = 0.04, .bias = -0.01},
                          .held_out = {.mean = 0.08, .median = 0.06, .bias = 0.02}}}}};
  const std::string text = to_json(factors);
  const TimeFactors back = read_time_factors_text(text, "factors.json");
  EXPECT_EQ(to_json(back), text);
  const std::vector<TrainingResidual>& residuals = back.residuals.at("h800 nanotron");
  ASSERT_EQ(residuals.size(), 1u);
  EXPECT_EQ(residuals[0].group, "bench");
  EXPECT_TRUE(residuals[0].is_moe);
  EXPECT_EQ(residuals[0].num_runs, 12);
  EXPECT_DOUBLE_EQ(residuals[0].fitted.bias, -0.01);
  EXPECT_DOUBLE_EQ(residuals[0].held_out.median, 0.06);
}

TEST(WithFactors, StoresFitsOfCollectives) {
  Calibration base;
  base.device = "h800";
  base.software = "NCCL";
  for (const double size : {16.0, 1024.0, 16777216.0, 134217728.0}) {
    base.collectives.push_back({.op = "all_reduce",
                                .path = "node",
                                .ranks = 8,
                                .nodes = 1,
                                .bytes = bytes(size),
                                .time = seconds(10e-6 + size / 1e11),
                                .source = "a test"});
  }
  const Calibration with = with_factors(base, some(), "h800", "nanotron");
  ASSERT_EQ(with.fits.size(), 1u);
  EXPECT_LT(with.fits[0].residual, 0.05);
  const std::string text = to_json(with);
  EXPECT_EQ(text.find("\"fits\": null"), std::string::npos);
  EXPECT_EQ(to_json(read_calibration_text(text, "h800.json")), text);
}

TEST(TimeFactors, OfTheCatalogNameEveryFrameworkThatHasAPreset) {
  const TimeFactors shipped = read_time_factors(testing::repository_path("catalog/calibration/factors/training.json"));
  for (const char* framework :
       {"megatron", "megatron-bridge", "nanotron", "torchtitan", "megatron-deepspeed", "composer", "internevo"}) {
    EXPECT_TRUE(shipped.of.contains(std::string("framework ") + framework)) << framework;
    ASSERT_TRUE(shipped.interval.contains(framework)) << framework;
    EXPECT_FALSE(shipped.interval.at(framework).devices.empty()) << framework;
  }
  // A device is among the errors of an interval where the residuals name runs on it.
  for (const auto& [name, residuals] : shipped.residuals) {
    const std::string device = name.substr(0, name.find(' ')), framework = name.substr(name.find(' ') + 1);
    for (const TrainingResidual& of : residuals) {
      const auto moe = shipped.interval.find(interval_name(framework, of.is_moe));
      const Interval& interval = moe == shipped.interval.end() ? shipped.interval.at(framework) : moe->second;
      EXPECT_TRUE(has_seen(interval, device)) << name;
    }
  }
}

}  // namespace
}  // namespace orrery::costmodel
