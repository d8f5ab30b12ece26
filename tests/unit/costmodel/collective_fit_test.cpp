// SPDX-License-Identifier: Apache-2.0
#include "costmodel/collective_fit.h"

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

/// All-reduces of n ranks that start in 3 us + (n - 1) us and move 100 GB/s on the wire.
CollectiveMeasurement all_reduce(std::int64_t ranks, Bytes size) {
  const Seconds start = microseconds(3) + static_cast<double>(ranks - 1) * unit::microsecond;
  return {.op = "all_reduce",
          .path = "node",
          .ranks = ranks,
          .bytes = size,
          .time = start + wire_factor("all_reduce", ranks) * size / bytes_per_second(100e9),
          .source = "test"};
}

TEST(CollectiveFit, CountsTheBytesOnTheWireAsNcclTestsDoes) {
  EXPECT_DOUBLE_EQ(wire_factor("all_reduce", 4), 1.5);
  EXPECT_DOUBLE_EQ(wire_factor("all_gather", 4), 0.75);
  EXPECT_DOUBLE_EQ(wire_factor("reduce_scatter", 4), 0.75);
  EXPECT_DOUBLE_EQ(wire_factor("all_to_all", 4), 0.75);
  EXPECT_DOUBLE_EQ(wire_factor("send_recv", 2), 1.0);
}

TEST(CollectiveFit, FindsTheParametersThatMadeThePoints) {
  std::vector<CollectiveMeasurement> points;
  for (std::int64_t ranks : {2, 4, 8}) {
    points.push_back(all_reduce(ranks, bytes(1)));
    points.push_back(all_reduce(ranks, mib(256)));
  }
  const std::vector<CollectiveFit> fits = fitted(points);
  ASSERT_EQ(fits.size(), 1);
  EXPECT_NEAR(fits[0].latency->in(unit::microsecond), 3.0, 1e-3);
  EXPECT_NEAR(fits[0].latency_per_peer->in(unit::microsecond), 1.0, 1e-3);
  EXPECT_NEAR(fits[0].rate->in(unit::gigabytes_per_second), 100.0, 1e-3);
  EXPECT_EQ(fits[0].min_ranks, 2);
  EXPECT_EQ(fits[0].max_ranks, 8);
  EXPECT_LT(fits[0].residual, 1e-4);
}

TEST(CollectiveFit, LeavesOutWhatThePointsDoNotTell) {
  const std::vector<CollectiveMeasurement> small = {all_reduce(4, bytes(8))};
  EXPECT_FALSE(fitted(small)[0].rate);
  EXPECT_NEAR(fitted(small)[0].latency->in(unit::microsecond), 6.0, 1e-2);
  EXPECT_EQ(*fitted(small)[0].latency_per_peer, Seconds::zero());
  const std::vector<CollectiveMeasurement> large = {all_reduce(4, mib(64))};
  EXPECT_FALSE(fitted(large)[0].latency);
  EXPECT_NEAR(fitted(large)[0].rate->in(unit::gigabytes_per_second), 100.0, 1.0);
}

TEST(CollectiveFit, NeverGivesANegativeParameter) {
  // Fewer ranks took longer: the cost of a peer cannot be below nothing.
  std::vector<CollectiveMeasurement> points = {all_reduce(2, bytes(8)), all_reduce(8, bytes(8))};
  std::swap(points[0].time, points[1].time);
  const CollectiveFit fit = fitted(points)[0];
  EXPECT_GT(*fit.latency, Seconds::zero());
  EXPECT_EQ(*fit.latency_per_peer, Seconds::zero());
}

TEST(CollectiveFit, FitsEachOpAndPathAlone) {
  std::vector<CollectiveMeasurement> points = {all_reduce(2, bytes(8)), all_reduce(2, bytes(8))};
  points[1].path = "rail";
  const std::vector<CollectiveFit> fits = fitted(points);
  ASSERT_EQ(fits.size(), 2);
  EXPECT_EQ(fits[0].path, "node");
  EXPECT_EQ(fits[1].path, "rail");
}

}  // namespace
}  // namespace orrery::costmodel
