// SPDX-License-Identifier: Apache-2.0
#include "costmodel/calibration.h"

#include "base/errors.h"
#include "base/files.h"
#include "base/json_reader.h"
#include "costmodel/factored_shares.h"

#include <cmath>
#include <cstddef>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

std::string repository_file(const std::string& path) { return std::string(ORRERY_SOURCE_DIR) + "/" + path; }

std::string good_text() { return read_file(repository_file("tests/data/schemas/calibration/good-device.json")); }

/// The message when `from` in a good file is replaced by `to`.
std::string message_of(const std::string& from, const std::string& to) {
  std::string text = good_text();
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  text.replace(at, from.size(), to);
  try {
    read_calibration_text(text, "c.json");
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

TEST(Calibration, ReadsEveryKindOfPoint) {
  const Calibration calibration = read_calibration_text(good_text(), "c.json");
  EXPECT_EQ(std::get<std::string>(calibration.device), "a100");
  EXPECT_EQ(calibration.conditions.power_limit->in(unit::watt), 400.0);
  ASSERT_EQ(calibration.points.size(), 4);
  EXPECT_EQ(std::get<GemmShape>(calibration.points[0].shape).n, 512);
  const GroupedGemmShape& grouped = std::get<GroupedGemmShape>(calibration.points[1].shape);
  EXPECT_EQ(grouped.rows.count, 8 * 512);
  EXPECT_EQ(calibration.points[1].pass, Pass::wgrad);
  EXPECT_EQ(std::get<AttentionShape>(calibration.points[2].shape).seq, 4096);
  EXPECT_EQ(std::get<MemoryShape>(calibration.points[3].shape).rows.count, 100000000);
  EXPECT_FALSE(calibration.points[3].spread);
  EXPECT_EQ(calibration.collectives[1].path, "rail");
  EXPECT_NEAR(calibration.launch_gap->value.in(unit::microsecond), 1.8, 1e-12);
  EXPECT_FALSE(calibration.launch_dispatch);
  EXPECT_EQ(calibration.idle_power->source, "a data sheet");
}

TEST(Calibration, JudgesTheCorpusOfFilesAsTheSchemaDoes) {
  JsonDocument document = JsonDocument::parse_file(repository_file("tests/data/schemas/expectations.json"));
  int num_files = 0;
  for (const JsonValue& value : document.root().required("files").array()) {
    const JsonObject entry = value.object();
    if (entry.required("schema").string() != "calibration/1") continue;
    ++num_files;
    const std::string file = repository_file("tests/data/schemas/" + entry.required("file").string());
    SCOPED_TRACE(file);
    if (entry.required("valid").boolean()) {
      EXPECT_NO_THROW(read_calibration(file));
      continue;
    }
    try {
      read_calibration(file);
      FAIL() << "was accepted";
    } catch (const ConfigError& error) {
      // A missing key is reported at its object, a wrong shape once for each of its keys.
      const std::string expected = entry.required("pointer").string();
      const std::string& pointer = error.problems()[0].pointer;
      EXPECT_TRUE(expected.starts_with(pointer) || pointer.starts_with(expected)) << expected << '\n' << error.what();
    }
  }
  EXPECT_GE(num_files, 10);
}

TEST(Calibration, SaysWhatIsWrong) {
  EXPECT_EQ(
      message_of("\"op\": \"gemm\"", "\"op\": \"gem\""),
      "c.json:14: /points/0/op: expected gemm, grouped_gemm, attention, memory or the name of an op, got \"gem\"");
  EXPECT_EQ(message_of("\"software\": \"torch 2.7\"", "\"software\": \"\""),
            "c.json:5: /software: expected the libraries that were timed, got an empty string");
}

TEST(Calibration, WritesTextThatReadsBackAsTheSame) {
  for (const char* file : {"tests/data/schemas/calibration/good-device.json",
                           "tests/data/schemas/calibration/good-cpu.json", "catalog/calibration/h800.json"}) {
    SCOPED_TRACE(file);
    const std::string text = to_json(read_calibration(repository_file(file)));
    EXPECT_EQ(to_json(read_calibration_text(text, "again.json")), text);
  }
}

Measurements two_measurements() {
  return {.device = "this-machine",
          .software = "Eigen 3.4",
          .conditions = {.active_ranks = 2, .threads_per_rank = 1},
          .ops = {{.op = "attn.norm",
                   .pass = Pass::fwd,
                   .dtype = DType::f32,
                   .shape = MemoryShape{.rows = {.count = 512}, .read_per_row = 400, .written_per_row = 600},
                   .time = microseconds(20),
                   .spread = microseconds(1),
                   .repeats = 7,
                   .source = "orrery calibrate"}},
          .collectives = {{.op = "all_reduce",
                           .path = "node",
                           .ranks = 2,
                           .nodes = 1,
                           .bytes = kib(1),
                           .time = microseconds(5),
                           .source = "orrery calibrate"}}};
}

TEST(Calibration, KeepsItsResiduals) {
  Calibration calibration = read_calibration_text(good_text(), "c.json");
  calibration.residuals = {{.op = "gemm",
                            .pass = Pass::wgrad,
                            .dtype = DType::bf16,
                            .num_points = 12,
                            .form = {.median = 0.05, .worst = -0.25},
                            .left_out = {.median = 0.025, .worst = 0.125}}};
  calibration.step_residuals = {
      {.run = "small, ep 2", .predicted = seconds(0.5), .measured = {seconds(0.25), seconds(0.75)}}};
  const std::string text = to_json(calibration);
  const Calibration back = read_calibration_text(text, "c.json");
  EXPECT_EQ(to_json(back), text);
  ASSERT_EQ(back.residuals.size(), 1U);
  EXPECT_EQ(back.residuals[0].pass, Pass::wgrad);
  EXPECT_EQ(back.residuals[0].num_points, 12);
  EXPECT_EQ(back.residuals[0].form.worst, -0.25);
  EXPECT_EQ(back.residuals[0].left_out.median, 0.025);
  ASSERT_EQ(back.step_residuals.size(), 1U);
  EXPECT_EQ(back.step_residuals[0].predicted, seconds(0.5));
  EXPECT_EQ(back.step_residuals[0].measured[1], seconds(0.75));
  EXPECT_EQ(back.device_name, "a100");
}

// Every device of the issue, as far as the data reach: numbers that points tell have their residuals beside them,
// others say in words where they come from.
TEST(Calibration, OfTheCatalogSaysWhereEachNumberComesFrom) {
  for (const char* device : {"a100", "h100", "h800", "h200", "b200", "gb200", "gb300", "mi250x", "mi300x", "mi355x"}) {
    const Calibration shipped =
        read_calibration(repository_file("catalog/calibration/" + std::string(device) + ".json"));
    ASSERT_TRUE(shipped.kernels) << device;
    EXPECT_EQ(shipped.residuals.empty(), shipped.points.empty()) << device;
    EXPECT_TRUE(shipped.interval && shipped.interval_moe) << device;
    const bool says_so = shipped.kernels->source.find("no point") != std::string::npos ||
                         shipped.kernels->source.find("no table") != std::string::npos;
    EXPECT_TRUE(says_so || !shipped.points.empty()) << device << ": " << shipped.kernels->source;
    for (const CollectiveFit& fit : shipped.fits) EXPECT_GE(fit.residual, 0.0) << device;
    EXPECT_EQ(shipped.fits.empty(), shipped.collectives.empty()) << device;
  }
}

TEST(Calibration, KeepsWhatOfKernelsIsSeldomSaid) {
  Calibration calibration = read_calibration(repository_file("catalog/calibration/tables/h100.json"));
  EXPECT_EQ(calibration.kernels->exponentials, 16.0);
  KernelParameters& kernels = *calibration.kernels;
  kernels.exponentials = 32.0;
  kernels.tf32 = kernels.fused_experts = kernels.separate_biases = kernels.sorts_arrivals = true;
  kernels.expert = 4.0 * unit::microsecond;
  kernels.weight_gradients = false;
  kernels.exchange_holds = 24.0;
  EXPECT_EQ(*read_calibration_text(to_json(calibration), "c.json").kernels, kernels);
}

/// What is wrong with the shipped H100 if its `kernels` and `factors` were changed.
template <class Change>
std::string problem_after(const Change& change) {
  Calibration calibration = read_calibration(repository_file("catalog/calibration/h100.json"));
  change(calibration);
  try {
    read_calibration_text(to_json(calibration), "c.json");
  } catch (const ConfigError& error) {
    return error.problems().front().pointer + ": " + error.problems().front().message;
  }
  return "";
}

TEST(Calibration, RefusesKernelsThatReachMoreThanThereIs) {
  for (double KernelParameters::* share :
       {&KernelParameters::matmul, &KernelParameters::matmul_fp8, &KernelParameters::grouped,
        &KernelParameters::attention_forward, &KernelParameters::attention_backward, &KernelParameters::memory,
        &KernelParameters::network, &KernelParameters::fp8_blocks, &KernelParameters::flash_2}) {
    EXPECT_THAT(problem_after([&](Calibration& calibration) { *calibration.kernels.*share = 5.0; }),
                ::testing::ContainsRegex("^/kernels/[a-z_0-9]+: expected a number from 0.001 to 1, got 5$"));
  }
  EXPECT_EQ(problem_after([](Calibration& calibration) { calibration.kernels->loss_forward = 5.0; }), "");
}

TEST(Calibration, RefusesFactorsThatTakeKernelsAboveWhatThereIs) {
  const auto with = [](Knob knob, double factor) {
    return problem_after(
        [&](Calibration& calibration) { (*calibration.factors)[static_cast<std::size_t>(knob)] = std::log(factor); });
  };
  EXPECT_EQ(
      with(Knob::matmul, 50.0),
      "/factors/matmul: expected a factor of at most 1.307, with which kernels reach all that the hardware gives, "
      "got 50");
  EXPECT_EQ(with(Knob::matmul, 1.0 / 0.765), "");  // all of it, as far as four digits tell
  for (const Knob knob : {Knob::matmul_fp8, Knob::grouped, Knob::attention, Knob::memory, Knob::network}) {
    EXPECT_NE(with(knob, 50.0), "");
  }
  EXPECT_EQ(with(Knob::dispatch, 50.0), "");  // a time may be as long as it likes
}

// What stops at all that the hardware gives is written so, and predicts the same.
TEST(Calibration, FactorsWithoutTheirExcessMakeTheSameKernels) {
  const KernelParameters kernels{.matmul = 0.8, .attention_forward = 0.5, .attention_backward = 0.6};
  Knobs large{};
  large.fill(std::log(1.9));
  const Knobs possible = without_excess(kernels, large);
  const KernelParameters stopped = with_knobs(kernels, large), same = with_knobs(kernels, possible);
  for (const auto& [knob, share] : kFactoredShares) EXPECT_NEAR(same.*share, stopped.*share, 1e-12);
  EXPECT_EQ(same.kernel, stopped.kernel);
  EXPECT_NEAR(possible[static_cast<std::size_t>(Knob::matmul)], -std::log(0.8), 1e-12);
  EXPECT_EQ(possible[static_cast<std::size_t>(Knob::attention)], std::log(1.9));  // the forward takes it
  EXPECT_EQ(possible[static_cast<std::size_t>(Knob::dispatch)], std::log(1.9));
}

TEST(Calibration, TakesWhatAnExecutorMeasured) {
  const Calibration calibration = calibration_of(two_measurements());
  EXPECT_EQ(calibration.conditions.active_ranks, 2);
  EXPECT_EQ(std::get<MemoryShape>(calibration.points.at(0).shape).rows.count, 512 * 1000);
  EXPECT_EQ(calibration.points[0].repeats, 7);
  ASSERT_EQ(calibration.fits.size(), 1);
  const std::string text = to_json(calibration);
  EXPECT_EQ(to_json(read_calibration_text(text, "c.json")), text);
}

TEST(Calibration, KeepsTheRouterAsAProductUnderItsOwnNameAndTheTimeBetweenOps) {
  Measurements measured = two_measurements();
  const GemmShape shape{.m = 256, .n = 8, .k = 64, .dtype = DType::f32};
  measured.ops = {{.op = "moe.router", .shape = shape, .time = microseconds(20), .repeats = 3, .source = "test"}};
  measured.launch = microseconds(0.75);
  const Calibration read = read_calibration_text(to_json(calibration_of(measured)), "c.json");
  EXPECT_EQ(read.points.at(0).op, "moe.router");
  EXPECT_EQ(std::get<GemmShape>(read.points[0].shape), shape);
  ASSERT_TRUE(read.launch_gap.has_value());
  EXPECT_EQ(read.launch_gap->value, microseconds(0.75));
}

TEST(Calibration, RefusesFitsThatWereMadeForOtherPoints) {
  const Calibration calibration = calibration_of(two_measurements());
  const std::string hash = collectives_hash(calibration);
  std::string text = to_json(calibration);
  text.replace(text.find(hash), hash.size(), "another");
  try {
    read_calibration_text(text, "c.json");
    FAIL() << "was accepted";
  } catch (const ConfigError& error) {
    ASSERT_EQ(error.problems().size(), 1) << error.what();
    EXPECT_EQ(error.problems()[0].pointer, "/fits/collectives_sha256");
    EXPECT_EQ(error.problems()[0].message, "expected " + hash + " (the hash of this file's collectives), got another");
    EXPECT_EQ(error.problems()[0].hint, "the points were changed after the fits were made; set fits to null");
  }
}

}  // namespace
}  // namespace orrery::costmodel
