// SPDX-License-Identifier: Apache-2.0
#include "cli/recorded_load.h"

#include "base/errors.h"
#include "tests/unit/base/test_folder.h"
#include "traces/trace_io.h"

#include <filesystem>
#include <string>

#include <gtest/gtest.h>

namespace orrery::cli {
namespace {

/// Two ranks with one expert each; rank 0 gets `to_first` of the 8 rows that both send together.
LoadRecord record_of(std::int32_t step, std::int64_t layer, double to_first) {
  const double half = to_first / 2.0;
  return {.step = step,
          .layer = layer,
          .micro_batch = 0,
          .ep_group = 0,
          .routing = {.group = 2, .num_experts = 2, .pairs = {half, 4.0 - half, half, 4.0 - half}}};
}

Trace trace_of(std::vector<LoadRecord> loads, std::int32_t num_steps) {
  Trace trace;
  trace.loads = std::move(loads);
  for (std::int32_t step = 0; step < num_steps; ++step) trace.steps.push_back({.step = step});
  return trace;
}

TEST(RecordedLoad, IsThatOfTheLastStep) {
  const Trace trace = trace_of({record_of(0, 0, 2), record_of(1, 0, 6), record_of(1, 1, 4)}, 2);
  const LoadModel load = recorded_load(trace);
  const RoutingQuery query{
      .layer = 0, .micro_batch = 0, .ep_group = 0, .group = 2, .num_experts = 2, .pairs_per_rank = 4};
  EXPECT_EQ(routing(load, query).received(0), 6.0);
}

TEST(RecordedLoad, TheFullestRankIsThatOfTheWholeStep) {
  // Rank 0 gets 6 and 4 of 8 rows: 10 of 16, where the mean is 8.
  EXPECT_DOUBLE_EQ(fullest_rank(trace_of({record_of(1, 0, 6), record_of(1, 1, 4)}, 2)), 10.0 / 8.0);
}

TEST(RecordedLoad, WarmUpDoesNotCountForTheFullestRank) {
  EXPECT_DOUBLE_EQ(fullest_rank(trace_of({record_of(0, 0, 8), record_of(1, 0, 2)}, 2)), 6.0 / 4.0);
  EXPECT_DOUBLE_EQ(fullest_rank(trace_of({record_of(0, 0, 8)}, 1)), 2.0);
}

TEST(RecordedLoad, WithoutRecordsRanksAreTakenAsEqual) { EXPECT_EQ(fullest_rank(trace_of({}, 2)), 1.0); }

TEST(PopularityLoad, IsThatOfTheLastStepOfATraceForAnyLayout) {
  const std::string path = orrery::testing::own_path("popularity.trace");
  Trace trace = trace_of({record_of(0, 0, 2), record_of(1, 0, 6)}, 2);
  trace.header.num_ranks = 2;
  write_trace_file(path, trace);
  const LoadModel load = popularity_load(path);
  // 6 of 8 rows went to the first expert; now both are on one rank, which sends 100.
  const RoutingMatrix matrix = routing(load, {.layer = 0, .group = 1, .num_experts = 2, .pairs_per_rank = 100});
  EXPECT_EQ(matrix.at(0, 0), 75.0);
  EXPECT_EQ(matrix.at(0, 1), 25.0);
  trace.loads.clear();
  write_trace_file(path, trace);
  try {
    popularity_load(path);
    FAIL() << "a trace without loads was taken for one";
  } catch (const ConfigError& error) {
    EXPECT_EQ(error.what(), path +
                                ": expected a trace with load records, got none\n"
                                "  hint: orrery execute PLAN --trace FILE records them");
  }
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace orrery::cli
