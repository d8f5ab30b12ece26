// SPDX-License-Identifier: Apache-2.0
// What arithmetic loses at least to what runs beside it, against the cheapest way to fill it by hand and op by op.
#include "costmodel/rank_work.h"

#include "base/rng.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

struct Op {
  double time, slowdown;
};

/// Fills the cheapest room first.
double exact_loss(std::vector<Op> ops, double communication) {
  std::sort(ops.begin(), ops.end(), [](const Op& a, const Op& b) { return a.slowdown < b.slowdown; });
  double lost = 0.0;
  for (const Op& op : ops) {
    const double beside = std::min(communication, op.time * (1.0 + op.slowdown));
    lost += beside * op.slowdown / (1.0 + op.slowdown);
    communication -= beside;
  }
  return lost + communication;
}

TEST(LeastLoss, IsNoMoreThanTheCheapestWayAndNotFarBelow) {
  const CounterRng rng(3, 0);
  std::uint64_t next = 0;
  const auto real = [&] { return static_cast<double>(rng.below(next++, 1000)) / 1000.0; };
  for (int i = 0; i < 1000; ++i) {
    std::vector<Op> ops;
    LeastLoss loss;
    double all = 0.0;
    for (int n = 0; n < 8; ++n) {
      ops.push_back({.time = real(), .slowdown = rng.below(next++, 4) == 0 ? 0.0 : real()});
      loss.add(seconds(ops.back().time), ops.back().slowdown);
      all += ops.back().time;
    }
    const double communication = 2.0 * all * real(), exact = exact_loss(ops, communication);
    const double found = loss.of(seconds(communication)) / seconds(1);
    EXPECT_LE(found, exact * (1.0 + 1e-12) + 1e-12) << i;
    EXPECT_GE(found, exact - 0.05 * communication) << i;
  }
}

TEST(LeastLoss, IsNothingBesideIdleTimeAndAllOfWhatDoesNotFit) {
  LeastLoss loss;
  loss.add_idle(seconds(3));
  EXPECT_EQ(loss.of(seconds(3)), seconds(0));
  EXPECT_EQ(loss.of(seconds(5)), seconds(2));
}

Slots slots(double arithmetic, double slowdown, double exchanges) {
  Slots out;
  out.times.forward = seconds(arithmetic + exchanges);
  out.times.forward_exchanges = out.waited_exchanges.forward = seconds(exchanges);
  out.loss.add(seconds(arithmetic), slowdown);
  return out;
}

TEST(RankWork, HidesExchangesInPairsAndWaitsForThemElsewhere) {
  RankWork pairs(4.0), alone(4.0);
  pairs.add(slots(10.0, 0.25, 2.0), {}, {});
  alone.add(slots(10.0, 0.25, 2.0), {});
  // 2 s beside arithmetic that is a quarter slower: a fifth of them is lost.
  EXPECT_NEAR(pairs.slots() / seconds(1), 4.0 * 10.4, 1e-12);
  EXPECT_EQ(alone.slots(), seconds(48));
}

TEST(RankWork, CountsExchangesOfSlotsAloneInFullAndThoseOfPairsAsALoss) {
  RankWork work(4.0);
  work.add(slots(10.0, 0.25, 2.0), seconds(0.5), {.forwards = 1.0, .backwards = 4.0});
  EXPECT_NEAR(work.slots() / seconds(1), 4.0 * 10.0 + 2.0 + 3.0 * 0.4, 1e-12);
  // Of what is sharded 1.5 s have room beside the exchanges of the slot that is alone.
  EXPECT_EQ(work.slots_and_reductions(), work.slots());
  RankWork more(4.0);
  more.add(slots(10.0, 0.25, 2.0), seconds(4.0), {.forwards = 1.0, .backwards = 4.0});
  EXPECT_NEAR(more.slots_and_reductions() / seconds(1), 4.0 * 10.0 + 2.0 + 0.2 * (12.0 - 2.0), 1e-12);
}

TEST(RankWork, SlowsSlotsBesideWhatIsSharded) {
  RankWork work(4.0);
  work.add(slots(10.0, 0.25, 2.0), seconds(8.0));
  EXPECT_EQ(work.slots(), seconds(48));
  // 6 of the 8 s come behind the first gather; 2 of them run beside exchanges.
  EXPECT_NEAR(work.slots_and_reductions() / seconds(1), 4.0 * (12.0 + 0.2 * 4.0), 1e-12);
}

}  // namespace
}  // namespace orrery::costmodel
