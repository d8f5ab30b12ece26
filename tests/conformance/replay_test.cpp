// SPDX-License-Identifier: Apache-2.0
// Steps in which phases that repeat themselves are run once, against the same steps run to their end: random strategies
// with many micro-batches on random clusters whose links are shared, undisturbed and with what breaks the repetition.
#include "base/rng.h"
#include "costmodel/op_times.h"
#include "program/lower.h"
#include "sim/engine.h"
#include "sim/link_use.h"
#include "tests/conformance/programs.h"
#include "tests/conformance/random_programs.h"
#include "tests/unit/program/random_strategies.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <iostream>
#include <span>
#include <string>

#include <gtest/gtest.h>

namespace orrery::sim {
namespace {

using costmodel::OpTimes;
using costmodel::TimedProgram;
using orrery::testing::Draws;
using orrery::testing::for_random_cases;
using orrery::testing::NanosecondPerByte;
using orrery::testing::RandomCase;
using orrery::testing::small_cluster;

/// Compute takes 5 to 44 us, by op, pass and layer. Flows carry whole bytes.
class TimesByName : public NanosecondPerByte {
 public:
  explicit TimesByName(Cluster cluster) : NanosecondPerByte(std::move(cluster), {0.2, 0.0}) {}

  costmodel::OpTime compute(const OpKey& key, const OpShape&, const ResolvedLoad&, DeviceIndex) const override {
    const auto name = static_cast<std::uint64_t>(key.op) * 64 + static_cast<std::uint64_t>(key.pass) * 8;
    const auto layer = static_cast<std::uint64_t>(key.layer + 8);
    return {.time = static_cast<double>(5 + CounterRng(name, layer).below(0, 40)) * unit::microsecond};
  }
  costmodel::CommTime collective(const CollectiveShape& shape, std::span<const DeviceIndex> members) const override {
    return whole(NanosecondPerByte::collective(shape, members));
  }
  costmodel::CommTime exchange(const ExchangeShape& shape, const RoutingMatrix& routing,
                               std::span<const DeviceIndex> members) const override {
    return whole(NanosecondPerByte::exchange(shape, routing, members));
  }
  costmodel::CommTime copy(const CopyShape&, DeviceIndex) const override {
    return {.latency = microseconds(3), .legs = {}, .num_legs = 0};
  }

 private:
  static costmodel::CommTime whole(costmodel::CommTime time) {
    for (costmodel::Leg& leg : time.legs) leg.bytes = std::ceil(leg.bytes.in(unit::byte)) * unit::byte;
    return time;
  }
};

/// Devices of a node share one NIC, and leaves are oversubscribed.
Cluster random_cluster(Draws& draws, std::int64_t num_devices) {
  const std::int64_t devices = std::min<std::int64_t>(std::int64_t{1} << draws.below(3), num_devices);
  Cluster cluster = small_cluster(num_devices / devices, devices);
  if (draws.below(2) == 0) cluster.groups.front().nics->per_node = cluster.groups.front().nics->rails = 1;
  cluster.fabric.nodes_per_leaf = std::int64_t{1} << draws.below(3);
  cluster.fabric.oversubscription = 1.0 + 0.5 * static_cast<double>(draws.below(5));
  return cluster;
}

/// A step both ways.
struct Both {
  StepProgram program;
  Cluster cluster;
  TimedProgram timed;
  SharedRun whole, replayed;
};

/// Of nodes with one device each, and as many spines as a leaf has nodes.
Cluster two_leaves(std::int64_t num_devices) {
  Cluster cluster = small_cluster(num_devices, 1);
  cluster.fabric = {.kind = FabricKind::fat_tree, .nodes_per_leaf = std::max<std::int64_t>(num_devices / 2, 1)};
  return cluster;
}

/// Which compute ops take longer than those of other micro-batches.
enum class Longer : std::uint8_t { none, one, of_each_by_another_factor };

struct Wishes {
  int cases = 40;
  Fidelity fidelity = Fidelity::l1;
  Longer longer = Longer::none;
  bool all_ranks = false;
  PathSeed seed = {};
  std::function<Disturbances(const RandomCase&)> disturbances = [](const RandomCase&) { return Disturbances(); };
};

std::size_t num_ops(const TimedProgram& timed) {
  std::size_t number = 0;
  for (const costmodel::TimedRank& rank : timed.ranks) number += rank.meeting.size();
  return number;
}

void make_longer(TimedProgram& timed, Longer longer) {
  for (costmodel::TimedRank& rank : timed.ranks) {
    std::vector<Seconds> times(rank.compute_time.begin(), rank.compute_time.end());
    for (std::size_t op = 0; op < times.size(); ++op) {
      const bool is_one = &rank == &timed.ranks.back() && op * 3 / times.size() == 1;
      if (longer == Longer::none || (longer == Longer::one && !is_one)) continue;
      times[op] = times[op] * (1.0 + 1e-3 * static_cast<double>(op));
      if (longer == Longer::one && times[op] > Seconds::zero()) break;
    }
    rank.compute_time = times;
  }
}

/// Every date of both, of every op of every rank, to 1e-9 of the step.
void expect_same_dates(const OpTimes& replayed, const OpTimes& whole) {
  const double step = whole.makespan.in(unit::second);
  EXPECT_NEAR(replayed.makespan.in(unit::second), step, 1e-9 * step);
  double largest = 0.0;
  for (std::size_t rank = 0; rank < whole.ranks.size(); ++rank) {
    const OpTimes::Rank &a = replayed.ranks[rank], &b = whole.ranks[rank];
    for (std::size_t op = 0; op < b.end.size(); ++op) {
      for (const Seconds difference : {a.ready[op] - b.ready[op], a.start[op] - b.start[op], a.end[op] - b.end[op]}) {
        largest = std::max(largest, std::abs(difference.in(unit::second)));
      }
    }
  }
  EXPECT_LT(largest, 1e-9 * step);
}

/// Runs random steps both ways, compares them and tells how many of them were replayed in part; `use` sees them, too.
int num_replayed(const Wishes& wishes, const std::function<void(const Both&)>& use = [](const Both&) {}) {
  int number = 0;
  std::size_t ops = 0, copies = 0;
  for_random_cases(wishes.cases, [&](const RandomCase& drawn, std::uint64_t index) {
    RandomCase c = drawn;
    const Disturbances disturbances = wishes.disturbances(c);
    const bool is_folded = !wishes.all_ranks && !disturbances.on_compute() && !disturbances.on_links();
    if (!is_folded && c.num_devices > 8) return;  // each of its ranks is simulated
    c.batch.global_batch *= 8;
    Draws draws{.rng = CounterRng(index, 3)};
    const Cluster cluster = wishes.seed ? two_leaves(c.num_devices) : random_cluster(draws, c.num_devices);
    SCOPED_TRACE("case " + std::to_string(index));
    if (!violations(c.model, c.strategy, c.batch, c.num_devices).empty()) return;
    Both both{.program = lower(c.model, c.strategy, c.batch, c.num_devices), .cluster = cluster};
    both.timed = time_program(both.program, TimesByName(cluster), cluster, {},
                              {.disturbances = disturbances, .all_ranks = wishes.all_ranks});
    make_longer(both.timed, wishes.longer);
    const SimulatedJob job{&both.timed, wishes.fidelity};
    both.whole = run_jobs({&job, 1}, cluster, true, false, wishes.seed);
    both.replayed = run_jobs({&job, 1}, cluster, true, true, wishes.seed);
    EXPECT_EQ(both.whole.replayed.num_ops, 0);
    expect_same_dates(times_of(both.timed, both.replayed.dates), times_of(both.timed, both.whole.dates));
    number += both.replayed.replayed.num_periods > 0 ? 1 : 0;
    ops += num_ops(both.timed);
    copies += both.replayed.replayed.num_ops;
    use(both);
  });
  std::cout << number << " of " << wishes.cases << " steps, " << copies << " of " << ops << " ops are copies\n";
  return number;
}

TEST(Replay, ChangesNoDate) { EXPECT_GT(num_replayed({.cases = 60}), 20); }
TEST(Replay, ChangesNoDateInClosedForm) { EXPECT_GT(num_replayed({.fidelity = Fidelity::l0}), 15); }
TEST(Replay, ChangesNoDateInPairs) { EXPECT_GT(num_replayed({.cases = 20, .fidelity = Fidelity::l3}), 5); }
TEST(Replay, ChangesNoDateWithEveryRank) { EXPECT_GT(num_replayed({.cases = 20, .all_ranks = true}), 3); }

TEST(Replay, ChangesNoDateOnHashedPaths) {
  int num_held_up = 0;
  const auto count = [&](const Both& both) {
    const SimulatedJob job{&both.timed, Fidelity::l2};
    const Seconds balanced = run_jobs({&job, 1}, both.cluster, true).dates.makespan;
    num_held_up += both.whole.dates.makespan > 1.0001 * balanced ? 1 : 0;
  };
  EXPECT_GT(num_replayed({.cases = 20, .fidelity = Fidelity::l2, .all_ranks = true, .seed = 1}, count), 3);
  EXPECT_GT(num_held_up, 1);
}

TEST(Replay, ChangesNoDateWithAStraggler) {
  const auto slow = [](const RandomCase& c) {
    return Disturbances{.stragglers = {{.rank = c.num_devices / 3, .factor = 1.7}}};
  };
  EXPECT_GT(num_replayed({.cases = 20, .disturbances = slow}), 3);
}

TEST(Replay, LeavesTheUseOfLinksAsItIs) {
  int num_links = 0;
  num_replayed({.cases = 10}, [&](const Both& both) {
    const auto use = [&](const SharedRun& run) {
      return use_of_links(both.timed, both.cluster, Fidelity::l1, run.dates);
    };
    const UseOfLinks whole = use(both.whole), replayed = use(both.replayed);
    ASSERT_EQ(replayed.links.size(), whole.links.size());
    for (std::size_t i = 0; i < whole.links.size(); ++i) {
      EXPECT_EQ(replayed.links[i].size, whole.links[i].size);
      EXPECT_NEAR(replayed.links[i].mean, whole.links[i].mean, 1e-6);
      EXPECT_NEAR(replayed.links[i].peak, whole.links[i].peak, 1e-6);
      ++num_links;
    }
    ASSERT_EQ(replayed.classes.size(), whole.classes.size());
    for (std::size_t c = 0; c < whole.classes.size(); ++c) {
      EXPECT_EQ(replayed.classes[c].name, whole.classes[c].name);
      for (std::size_t i = 0; i < whole.classes[c].track.size(); ++i) {
        EXPECT_NEAR(replayed.classes[c].track[i], whole.classes[c].track[i], 1e-6);
      }
    }
  });
  EXPECT_GT(num_links, 20);
}

TEST(Replay, IsOffWhereMicroBatchesAreUnequal) {
  EXPECT_EQ(num_replayed({.cases = 20, .longer = Longer::of_each_by_another_factor}), 0);
}

TEST(Replay, EndsWhereOneMicroBatchIsNotLikeTheOthers) {
  EXPECT_GT(num_replayed({.cases = 20, .longer = Longer::one}), 5);
}

TEST(Replay, IsOffWithNoise) {
  const auto noise = [](const RandomCase&) { return Disturbances{.noise = {.per_op = 0.1, .seed = 3}}; };
  EXPECT_EQ(num_replayed({.cases = 20, .disturbances = noise}), 0);
}

TEST(Replay, IsOffWhereLinksChange) {
  const auto traffic = [](const RandomCase& c) {
    Disturbances disturbances;
    if (c.num_devices > 4) {
      disturbances.links = {{.link = LinkClass::nic, .node = 1, .left = 0.4, .when = {.from = microseconds(2000)}}};
    }
    return disturbances;
  };
  num_replayed({.cases = 20, .disturbances = traffic}, [](const Both& both) {
    if (both.timed.disturbances.on_links()) {
      EXPECT_EQ(both.replayed.replayed.num_periods, 0);
    }
  });
}

TEST(Replay, TellsNoDatesWhereOnlyTheStepIsAsked) {
  num_replayed({.cases = 8}, [](const Both& both) {
    const Seconds step = run_on_simgrid(both.timed, both.cluster, Fidelity::l1, false).makespan;
    EXPECT_NEAR(step / both.whole.dates.makespan, 1.0, 1e-9);
  });
}

}  // namespace
}  // namespace orrery::sim
