// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/curve_score.h"

#include "costmodel/collective_fit.h"
#include "tests/unit/costmodel/validation/published.h"

#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

std::optional<Calibration> table_of_catalog(const std::string& device) {
  const std::string path = orrery::testing::repository_path("catalog/calibration/tables/" + device + ".json");
  if (!std::filesystem::exists(path)) return std::nullopt;
  return read_calibration(path);
}

CurvesFile published() {
  return read_collective_curves(
      JsonDocument::parse_file(orrery::testing::repository_path("tests/data/collectives/curves.json")));
}

const CurveMachine& machine_of(const CurveScore& score, const std::string& begin) {
  return *std::find_if(score.machines.begin(), score.machines.end(),
                       [&](const CurveMachine& machine) { return machine.name.starts_with(begin); });
}

/// Eight GPUs that take 20 us and 0.2 GB/ms of bus bandwidth at any size.
Curve affine() {
  Curve out{.op = "all_reduce", .gpu = "A100", .network = "", .library = "", .source = "test", .tokens = {}};
  for (int power = 10; power <= 30; power += 2) {
    const double size = std::exp2(power);
    const Seconds moving = wire_factor("all_reduce", 8) * bytes(size) / bytes_per_second(200e9);
    out.points.push_back({.size = bytes(size), .ranks = 8, .nodes = 1, .time = microseconds(20) + moving});
  }
  return out;
}

CurveScore score_of(const CurvesFile& file) { return score_curves(file, testing::device_of_catalog, table_of_catalog); }

TEST(CurveScore, IsExactBeyondTheFitWhereTimeIsAStartAndARate) {
  CurvesFile file;
  file.curves = {affine()};
  const CurveScore score = score_of(file);
  ASSERT_EQ(score.points.size(), affine().points.size());
  std::size_t num_fitted = 0;
  for (const ScoredPoint& point : score.points) {
    num_fitted += static_cast<std::size_t>(point.fitted);
    // The least squares of starts also see what the first 64 KiB take to move.
    EXPECT_NEAR(point.error(), 0.0, point.point.size > mib(1) ? 1e-6 : 0.01) << point.point.size.in(unit::byte);
    EXPECT_EQ(point.fitted, point.point.size <= mib(64));
  }
  EXPECT_EQ(num_fitted, 9U);
  EXPECT_NEAR(score.median_of_curves, 0.0, 1e-6);
}

TEST(CurveScore, DoesNotLookAtWhatItScores) {
  // Everything beyond the fit three times as slow: predictions stay.
  CurvesFile file = published(), slower = published();
  for (Curve& curve : slower.curves) {
    for (CurvePoint& point : curve.points) {
      if (!is_for_fit(curve, point)) point.time = point.time * 3.0;
    }
  }
  const CurveScore before = score_of(file), after = score_of(slower);
  ASSERT_EQ(before.points.size(), after.points.size());
  for (std::size_t i = 0; i < before.points.size(); ++i) {
    EXPECT_EQ(before.points[i].predicted, after.points[i].predicted) << before.points[i].machine->name;
  }
  EXPECT_GT(after.median_of_curves, before.median_of_curves);
}

TEST(CurveScore, FindsTheHopThatMessagesOverTwoNodesTell) {
  const CurvesFile file = published();
  const CurveScore score = score_of(file);
  const NetworkNumbers& efa = machine_of(score, "H100-80GB (p5.48xlarge)").network;
  EXPECT_GT(efa.num_points, 0U);
  EXPECT_GT(efa.hop, microseconds(20));  // EFA's hops are longer than InfiniBand's
  EXPECT_LT(efa.hop, microseconds(60));
  EXPECT_EQ(efa.fraction, 0.96);
  // Four nodes of B200 were not measured over two: theirs is the network of the same kind.
  const NetworkNumbers& like = machine_of(score, "B200 (p6-b200.48xlarge), EFA").network;
  EXPECT_EQ(like.num_points, 0U);
  EXPECT_EQ(like.hop, efa.hop);
  EXPECT_TRUE(like.like.starts_with("H100-80GB (p5.48xlarge)"));
}

TEST(CurveScore, TakesTheRateOfANicOnlyWhereTokensWaitForIt) {
  const CurvesFile file = published();
  const CurveScore score = score_of(file);
  // DeepEP's second version over two nodes: 90 and 81 GB/s for two copies of a token, one of them over the NIC.
  const NetworkNumbers& second = machine_of(score, "SM90").network;
  EXPECT_NEAR(second.fraction, std::sqrt(90.0 * 81.0) / 2.0 / 50.0, 0.02);
  // The first version's sixteen ranks wait for NVLink, so that they tell nothing of the NIC.
  EXPECT_EQ(machine_of(score, "H800").network.num_points, 0U);
  for (const ScoredPoint& point : score.points) {
    if (!point.curve->tokens || point.fitted) continue;
    EXPECT_LT(std::abs(point.error()), 0.1) << point.machine->name;
  }
}

TEST(CurveScore, CountsCurvesWithoutADeviceOfTheCatalog) {
  CurvesFile file;
  file.curves = {affine()};
  file.curves[0].gpu = "TPU";
  const CurveScore score = score_of(file);
  EXPECT_TRUE(score.points.empty());
  ASSERT_EQ(score.unread.size(), 1U);
  EXPECT_EQ(score.unread[0].reason, "the catalog has no TPU");
  EXPECT_EQ(score.unread[0].num_figures, affine().points.size());
}

TEST(CurveErrors, AreMedianMeanAndBias) {
  const CurveErrors errors = errors_of(std::vector<double>{0.1, -0.2, 0.6});
  EXPECT_EQ(errors.num_points, 3U);
  EXPECT_DOUBLE_EQ(errors.median, 0.2);
  EXPECT_DOUBLE_EQ(errors.mean, 0.3);
  EXPECT_DOUBLE_EQ(errors.bias, 0.1);
  EXPECT_EQ(errors_of({}).num_points, 0U);
}

}  // namespace
}  // namespace orrery::costmodel
