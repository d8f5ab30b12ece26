// SPDX-License-Identifier: Apache-2.0
// Fidelities beside each other and beside the least time: more detail must not change what needs none.
#include "sim/engine.h"
#include "sim/least_time.h"
#include "tests/conformance/programs.h"

#include <cmath>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace orrery::sim {
namespace {

using costmodel::TimedProgram;
using orrery::testing::NanosecondPerByte;
using orrery::testing::ProgramBuilder;
using orrery::testing::small_cluster;

Seconds makespan(const TimedProgram& timed, const Cluster& cluster, const Fidelities& fidelities) {
  return run_on_simgrid(timed, cluster, fidelities, false).makespan;
}

TimedProgram timed(const ProgramBuilder& builder, const Cluster& cluster, bool all_ranks, const LoadModel& load = {}) {
  return time_program(builder.program(), NanosecondPerByte(cluster), cluster, {},
                      {.load = load, .all_ranks = all_ranks});
}

/// Two stages of eight ranks in EP groups of eight. While experts are exchanged, gradients are summed and activations
/// go to the next stage: three communicators on one NIC.
ProgramBuilder crowded_step() {
  ProgramBuilder builder(2, 8, 8);
  for (const std::int64_t stage : {0, 1}) {
    const OpIndex first = builder.compute(stage, microseconds(20));
    builder.dispatch(stage, 64, 8000, {first});
    builder.all_reduce(stage, Queue::dp, Group::dp, 1000000, {first});
    const OpIndex later = builder.compute(stage, microseconds(10));
    if (stage == 0) builder.send_next(stage, 700000, {later});
    if (stage == 1) builder.recv_prev(stage, 700000, {later});
    builder.all_reduce(stage, Queue::world, Group::world, 100000, {later});
  }
  return builder;
}

void expect_within(Seconds actual, Seconds expected, double part, const std::string& what) {
  EXPECT_LE(abs(actual - expected), part * expected)
      << what << ": " << actual.in(unit::microsecond) << " us instead of " << expected.in(unit::microsecond) << " us";
}

TEST(FidelitiesAgree, OnACrowdedStepToOnePerCent) {
  const ProgramBuilder builder = crowded_step();
  for (const std::int64_t devices_per_node : {1, 2, 4}) {
    const Cluster cluster = small_cluster(16 / devices_per_node, devices_per_node);
    const TimedProgram full = timed(builder, cluster, true), folded = timed(builder, cluster, false);
    const Seconds expected = makespan(full, cluster, Fidelity::l1);
    EXPECT_GT(expected, 1.05 * makespan(full, cluster, Fidelity::l0)) << "nothing competes";
    for (const Fidelity fidelity : {Fidelity::l1, Fidelity::l2, Fidelity::l3}) {
      const std::string what =
          std::to_string(devices_per_node) + " devices, " + std::string(name_of(kFidelityNames, fidelity));
      expect_within(makespan(full, cluster, fidelity), expected, 0.01, what);
      expect_within(makespan(folded, cluster, fidelity), expected, 0.01, what + ", folded");
    }
  }
}

TEST(FidelitiesAgree, OnACrowdedStepBelowOversubscribedLeaves) {
  const ProgramBuilder builder = crowded_step();
  for (const std::int64_t nodes_per_leaf : {2, 4}) {
    for (const double oversubscription : {2.0, 4.0}) {
      Cluster cluster = small_cluster(16, 1);
      cluster.fabric.nodes_per_leaf = nodes_per_leaf;
      cluster.fabric.oversubscription = oversubscription;
      const TimedProgram full = timed(builder, cluster, true);
      const Seconds expected = makespan(full, cluster, Fidelity::l2);
      // Pairs go one after the other: of four nodes at 2 : 1, uplinks wait at times for pairs below the leaf, which at
      // L1 move beside the rest. At 4 : 1 there is always more for them than they can take.
      const double tolerance = nodes_per_leaf == 4 && oversubscription == 2.0 ? 0.07 : 0.01;
      const std::string what =
          std::to_string(nodes_per_leaf) + " nodes a leaf, oversubscribed " + std::to_string(oversubscription);
      expect_within(makespan(full, cluster, Fidelity::l1), expected, tolerance, what + ", L1");
      expect_within(makespan(full, cluster, Fidelity::l3), expected, 0.01, what + ", L3");
    }
  }
}

TEST(FidelitiesAgree, OnACrowdedStepInNarrowPods) {
  const ProgramBuilder builder = crowded_step();
  for (const std::int64_t devices_per_node : {1, 2}) {
    for (const std::int64_t leaves : {1, 2}) {
      Cluster cluster = small_cluster(16 / devices_per_node, devices_per_node);
      const Seconds wide = makespan(timed(builder, cluster, true), cluster, Fidelity::l2);
      cluster.fabric.pods = Pods{.leaves = leaves, .oversubscription = 8.0};
      const TimedProgram full = timed(builder, cluster, true), folded = timed(builder, cluster, false);
      const Seconds expected = makespan(full, cluster, Fidelity::l2);
      EXPECT_GT(expected, 1.5 * wide) << "pods do not hold it up";
      const std::string what =
          std::to_string(devices_per_node) + " devices, " + std::to_string(leaves) + " leaves a pod";
      expect_within(makespan(full, cluster, Fidelity::l1), expected, 0.02, what + ", L1");
      expect_within(makespan(folded, cluster, Fidelity::l1), makespan(full, cluster, Fidelity::l1), 1e-6,
                    what + ", L1 folded");
      expect_within(makespan(full, cluster, Fidelity::l3), expected, 0.01, what + ", L3");
    }
  }
}

TEST(FidelitiesAgree, OnRingsThatLeaveTheirPodsByHand) {
  // Two rings, one for each device of a node, through eight nodes below leaves of two and pods of two leaves: 14/8 of 8
  // MB leave each pod twice, over 200 / 16 GB/s.
  ProgramBuilder builder(1, 16, 2);
  builder.all_reduce(0, Queue::dp, Group::edp, 8000000);
  Cluster cluster = small_cluster(8, 2);
  cluster.fabric.pods = Pods{.leaves = 2, .oversubscription = 16.0};
  const Seconds expected = 2.0 * bytes(8e6 * 14.0 / 8.0) / bytes_per_second(12.5e9) + microseconds(5);
  for (const Fidelity fidelity : {Fidelity::l1, Fidelity::l2, Fidelity::l3}) {
    expect_within(makespan(timed(builder, cluster, true), cluster, fidelity), expected, 1e-3,
                  std::string(name_of(kFidelityNames, fidelity)));
  }
  expect_within(makespan(timed(builder, cluster, false), cluster, Fidelity::l1), expected, 1e-3, "folded");
}

TEST(FidelitiesAgree, OnAnExchangeThatARouterDecidesIfItIsAlone) {
  // The cost model counts the busiest device, whom no other can help, nor those of its node.
  for (const std::int64_t devices_per_node : {1, 2, 4, 8}) {
    const Cluster cluster = small_cluster(16 / devices_per_node, devices_per_node);
    for (const LoadModel& load :
         {LoadModel(DirichletLoad{.alpha = 0.5, .seed = 3}), LoadModel(ZipfLoad{.exponent = 1.0})}) {
      for (const bool back : {false, true}) {
        ProgramBuilder builder(1, 16, 16, 16);
        if (back) {
          builder.combine(0, 4096, 8000);
        } else {
          builder.dispatch(0, 4096, 8000);
        }
        const TimedProgram skewed = timed(builder, cluster, true, load);
        const Seconds expected = makespan(skewed, cluster, Fidelity::l0);
        for (const Fidelity fidelity : {Fidelity::l1, Fidelity::l2, Fidelity::l3}) {
          expect_within(makespan(skewed, cluster, fidelity), expected, 0.01,
                        std::to_string(devices_per_node) + " devices, load " + std::to_string(load.index()) +
                            (back ? ", back, " : ", ") + std::string(name_of(kFidelityNames, fidelity)));
        }
      }
    }
  }
}

TEST(FidelitiesAgree, WhereASingleOpHasItsOwn) {
  const ProgramBuilder builder = crowded_step();
  const Cluster cluster = small_cluster(8, 2);
  for (const bool all_ranks : {false, true}) {
    const TimedProgram step = timed(builder, cluster, all_ranks);
    expect_within(makespan(step, cluster, {Fidelity::l1, {{OpCode::moe_dispatch, Fidelity::l3}}}),
                  makespan(step, cluster, Fidelity::l1), 0.01, "exchange in pairs");
    EXPECT_LT(makespan(step, cluster, {Fidelity::l1, {{OpCode::moe_dispatch, Fidelity::l0}}}),
              makespan(step, cluster, Fidelity::l1));
  }
}

TEST(FidelitiesAgree, LeavePairsBelowALeafOutOfItsUplinks) {
  // Of the seven others of a device one is below its leaf: 6/7 of the bytes of two devices over half a NIC.
  ProgramBuilder builder(1, 8, 8);
  builder.dispatch(0, 64, 8000);
  Cluster cluster = small_cluster(8, 1);
  cluster.fabric.oversubscription = 4.0;
  const TimedProgram step = timed(builder, cluster, true);
  const Seconds latency = microseconds(5);
  const Seconds expected = bytes(7 * 8 * 8000) * (6.0 / 7.0) * 2.0 / bytes_per_second(12.5e9);
  for (const Fidelity fidelity : {Fidelity::l1, Fidelity::l2, Fidelity::l3}) {
    expect_within(makespan(step, cluster, fidelity) - latency, expected, 0.01,
                  std::string(name_of(kFidelityNames, fidelity)));
  }
}

/// A collective of all ranks, one on each node, on 1 GiB: no faster than its links, and at most 2 % slower.
void expect_near_its_bound(CollectiveKind kind, std::int64_t num_ranks, Fidelity fidelity) {
  ProgramBuilder builder(1, num_ranks);
  builder.collective(0, kind, Queue::world, Group::world, std::int64_t{1} << 30);
  const Cluster cluster = small_cluster(num_ranks, 1);
  std::vector<DeviceIndex> devices;
  for (std::int32_t i = 0; i < num_ranks; ++i) devices.emplace_back(i);
  const auto& shape = std::get<CollectiveShape>(builder.program().shapes.front());
  const Seconds bound = least_time(shape, {.cluster = cluster, .devices = devices}).total();
  const Seconds time = makespan(timed(builder, cluster, true), cluster, fidelity);
  EXPECT_GE(time / bound, 1.0 - 1e-9) << num_ranks << " ranks, " << name_of(kFidelityNames, fidelity);
  EXPECT_LE(time / bound, 1.02) << num_ranks << " ranks, " << name_of(kFidelityNames, fidelity);
}

TEST(FidelitiesAgree, WithTheBoundOfCollectivesOf16To1024Ranks) {
  for (const std::int64_t num_ranks : {16, 64, 256, 1024}) {
    for (const Fidelity fidelity : {Fidelity::l1, Fidelity::l2, Fidelity::l3}) {
      expect_near_its_bound(CollectiveKind::all_reduce, num_ranks, fidelity);
      const bool is_next = num_ranks == 1024 && fidelity == Fidelity::l3;
      if (!is_next) expect_near_its_bound(CollectiveKind::all_to_all, num_ranks, fidelity);
    }
  }
}

/// Nodes of eight devices, each with a NIC. Links within nodes are fast, so that NICs decide, and a collective sends
/// over these what has to leave the node and no more.
class ByNodes : public NanosecondPerByte {
 public:
  using NanosecondPerByte::NanosecondPerByte;
  costmodel::CommTime collective(const CollectiveShape& shape, std::span<const DeviceIndex> members) const override {
    costmodel::CommTime time = NanosecondPerByte::collective(shape, members);
    const auto n = static_cast<double>(members.size()), d = 8.0, k = n / d, all = static_cast<double>(shape.bytes);
    const bool exchange = shape.kind == CollectiveKind::all_to_all;
    const double inside = exchange ? all * (d - 1.0) / n : 2.0 * all * (d - 1.0) / d;
    time.legs[1] = time.legs[0];
    time.legs[1].bytes = bytes(std::ceil(exchange ? all * (n - d) / n : 2.0 * all * (k - 1.0) / n));
    time.legs[0] = {.path = costmodel::PathClass::node, .bytes = bytes(inside), .bandwidth = bytes_per_second(1e12)};
    time.num_legs = 2;
    return time;
  }
};

TEST(FidelitiesAgree, WithTheBoundOfCollectivesOfEightDevicesANode) {
  for (const std::int64_t num_ranks : {16, 64, 256}) {
    Cluster cluster = small_cluster(num_ranks / 8, 8);
    cluster.groups[0].scale_up.per_device = bytes_per_second(1e12);
    std::vector<DeviceIndex> devices;
    for (std::int32_t i = 0; i < num_ranks; ++i) devices.emplace_back(i);
    for (const CollectiveKind kind : {CollectiveKind::all_reduce, CollectiveKind::all_to_all}) {
      ProgramBuilder builder(1, num_ranks);
      builder.collective(0, kind, Queue::world, Group::world, std::int64_t{1} << 30);
      const auto& shape = std::get<CollectiveShape>(builder.program().shapes.front());
      const Seconds bound = least_time(shape, {.cluster = cluster, .devices = devices}).total();
      for (const bool all_ranks : {true, false}) {
        const TimedProgram timed =
            time_program(builder.program(), ByNodes(cluster), cluster, {}, {.all_ranks = all_ranks});
        for (const Fidelity fidelity : {Fidelity::l1, Fidelity::l2, Fidelity::l3}) {
          const double ratio = makespan(timed, cluster, fidelity) / bound;
          EXPECT_GE(ratio, 1.0 - 1e-9) << num_ranks << " ranks, " << name_of(kFidelityNames, fidelity);
          EXPECT_LE(ratio, 1.02) << num_ranks << " ranks, " << name_of(kFidelityNames, fidelity);
        }
      }
    }
  }
}

// By itself: a million flows take seconds.
TEST(FidelitiesAgree, WithTheBoundOfAnAllToAllOf1024RanksWithEachPairAFlow) {
  expect_near_its_bound(CollectiveKind::all_to_all, 1024, Fidelity::l3);
}

}  // namespace
}  // namespace orrery::sim
