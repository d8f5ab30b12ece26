// SPDX-License-Identifier: Apache-2.0
#include "executor/calibration/calibration_run.h"

#include "base/errors.h"
#include "executor/calibration/sample_table.h"
#include "program/lower.h"
#include "program/work.h"
#include "tests/unit/executor/calibration/small_probe.h"

#include <algorithm>
#include <chrono>
#include <set>
#include <tuple>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using ::testing::SizeIs;
using testing::small_model;
using testing::small_probe;
using testing::small_source;

CalibrationRequest request_of(std::vector<Probe> probes, std::int64_t num_ranks) {
  return {.num_ranks = num_ranks,
          .probes = std::move(probes),
          .collectives = false,
          .max_time = seconds(0.4),
          .rank_executable = ORRERY_BINARY_DIR "/orrery-rank"};
}

std::string refusal_of(const CalibrationRequest& request) {
  try {
    calibrate_machine(request);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "nothing was refused";
}

TEST(Calibration, EveryShapeOfAProbeHasAPointOfAPlausibleRate) {
  for (const std::int64_t num_ranks : {1, 2}) {
    for (const DType precision : {DType::f32, DType::bf16}) {
      const Probe probe = small_probe(num_ranks, 1, num_ranks, precision);
      const StepProgram program = lower(probe.model, probe.strategy, probe.batch, num_ranks);
      const Measurements measured = calibrate_machine(request_of({probe}, num_ranks));
      EXPECT_EQ(measured.conditions.active_ranks, num_ranks);
      EXPECT_GE(measured.conditions.threads_per_rank, 1);
      EXPECT_GT(measured.launch, Seconds::zero());

      using Kind = std::tuple<std::string, Pass, OpShape>;
      std::set<Kind> expected, found;
      for (const Op& op : program.classes.front().ops) {
        const OpShape& shape = program.shapes[op.shape];
        if (op.queue == Queue::compute) expected.insert({point_name(op.key.op, shape), op.key.pass, shape});
      }
      for (const OpMeasurement& point : measured.ops) {
        found.insert({point.op, point.pass, point.shape});
        EXPECT_GT(point.time, Seconds::zero()) << point.op;
        EXPECT_GE(point.spread, Seconds::zero()) << point.op;
        EXPECT_GE(point.repeats, num_ranks) << point.op;
        // No core reaches 1 TFLOP/s or 1 TB/s.
        const Work work = work_of({.pass = point.pass}, point.shape, {});
        const double threads = static_cast<double>(measured.conditions.threads_per_rank);
        EXPECT_LT(work.flops.in(unit::flop) / point.time.in(unit::second), 1e12 * threads) << point.op;
        EXPECT_LT((work.read + work.written).in(unit::byte) / point.time.in(unit::second), 1e12 * threads) << point.op;
      }
      EXPECT_TRUE(found == expected) << found.size() << " of " << expected.size();
    }
  }
}

TEST(Calibration, TakesAboutTheTimeItIsGiven) {
  CalibrationRequest request = request_of({small_probe(2)}, 2);
  request.collectives = true;
  request.general = general_probes(DType::f32, 2);
  request.max_time = seconds(1.0);
  std::vector<std::string> told;
  request.on_progress = [&](std::string_view what, double done) {
    EXPECT_LE(done, 1.0);
    told.emplace_back(what);
  };
  const auto start = std::chrono::steady_clock::now();
  const Measurements measured = calibrate_machine(request);
  // Starting processes and a last step that takes longer than those before are beyond its control.
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(6));
  ASSERT_GE(told.size(), 2U);
  EXPECT_EQ(told[0], "small, pp 1, ep 1, micro-batch 2");
  EXPECT_EQ(told[1], "collectives");
  EXPECT_FALSE(measured.collectives.empty());
}

// The points have not seen them: each probe is launched once more when all samples are there.
TEST(Calibration, RunsProbesOnceMoreForTheirSteps) {
  CalibrationRequest request = request_of({small_probe(2), small_probe(2, 2), small_probe(2, 1, 2)}, 2);
  std::vector<std::string> told;
  request.on_progress = [&](std::string_view what, double) { told.emplace_back(what); };
  const Measurements measured = calibrate_machine(request);
  EXPECT_EQ(std::count(told.begin(), told.end(), "checks"), 3);
  EXPECT_EQ(told.back(), "checks");
  std::set<std::size_t> runs;
  for (const StepMeasurement& steps : measured.steps) {
    EXPECT_TRUE(runs.insert(steps.run).second);
    EXPECT_GE(steps.times.size(), 1U);
    for (const Seconds time : steps.times) EXPECT_GT(time, Seconds::zero());
  }
  EXPECT_EQ(runs, (std::set<std::size_t>{0, 1, 2}));
}

TEST(Calibration, ARequestForAModelAsksForAllItsLayouts) {
  const CalibrationRequest request =
      calibration_request(small_source(), small_model(), {.seq = 16, .global_batch = 4}, DType::f32, 2);
  EXPECT_EQ(request.num_ranks, 2);
  EXPECT_THAT(
      request.probes,
      SizeIs(2 * 3 + 2 * 2 + 1 + 5));  // EP with micro-batches 1 and 2, and short, ZeRO-1 and 3; PP; TP, CP, ETP
  EXPECT_FALSE(request.general.empty());
}

TEST(Calibration, ALayoutThatDoesNotFitIsRefused) {
  EXPECT_EQ(refusal_of(request_of({small_probe(2, 1, 3)}, 2)),
            "cannot calibrate with small: ep: expected etp * ep * pp to be a divisor of 2 (number of devices), "
            "got 3");
}

TEST(Calibration, AModelThatCpuRanksCannotTrainIsRefused) {
  Probe probe = small_probe(1);
  probe.model.activation = Activation::gelu;
  EXPECT_EQ(refusal_of(request_of({probe}, 1)), "cannot calibrate with small: the CPU executor has SwiGLU only");
}

TEST(Calibration, TwoTypesOfNumbersAtOnceAreRefused) {
  EXPECT_EQ(refusal_of(request_of({small_probe(1), small_probe(1, 1, 1, DType::bf16)}, 1)),
            "cannot calibrate f32 and bf16 at once: expected one type of numbers");
}

TEST(Calibration, AnUnknownBackEndIsRefusedBeforeAnyRankStarts) {
  CalibrationRequest request = request_of({small_probe(1)}, 1);
  request.gemm = "abacus";
  request.rank_executable = "/no/such/file";
  EXPECT_THAT(refusal_of(request), ::testing::HasSubstr("abacus"));
}

}  // namespace
}  // namespace orrery::executor
