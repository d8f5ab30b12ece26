// SPDX-License-Identifier: Apache-2.0
#include "sim/simgrid_kernel.h"

#include "base/errors.h"
#include "tests/conformance/programs.h"

#include <csignal>
#include <cstdlib>
#include <exception>
#include <functional>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::sim {
namespace {

using costmodel::PathClass;
using orrery::testing::small_cluster;
using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::FieldsAre;

constexpr PathClasses kAll = {true, true, true};
const NodeUse kTwoNodes[] = {{.node = 0, .num_flows = 3}, {.node = 1, .num_flows = 3}};

/// Remembers when it was told what, in microseconds.
class Log : public EventHandler {
 public:
  explicit Log(SimGridKernel& kernel, std::function<void(KernelEvent)> reaction = {})
      : kernel_(kernel), reaction_(std::move(reaction)) {}
  void on_event(KernelEvent event) override {
    entries.push_back({event.index, kernel_.now().in(unit::microsecond)});
    if (reaction_) reaction_(event);
  }

  struct Entry {
    std::uint32_t index;
    double date;
  };
  std::vector<Entry> entries;

 private:
  SimGridKernel& kernel_;
  std::function<void(KernelEvent)> reaction_;
};

auto entry(std::uint32_t index, double date) { return FieldsAre(index, DoubleNear(date, 1e-9)); }

Flow megabyte(BytesPerSecond cap) {
  return {.path = PathClass::rail, .from = 0, .to = 1, .size = bytes(1e6), .cap = cap};
}

TEST(SimGridKernel, FiresTimersInTheOrderOfTheirDates) {
  SimGridKernel kernel(small_cluster(2, 1), kTwoNodes, kAll, milliseconds(1));
  Log log(kernel);
  kernel.set_timer(microseconds(30), {0, 3});
  kernel.set_timer(microseconds(10), {0, 1});
  kernel.cancel(kernel.set_timer(microseconds(20), {0, 2}));
  kernel.run(log);
  EXPECT_THAT(log.entries, ElementsAre(entry(1, 10), entry(3, 30)));
}

TEST(SimGridKernel, StartsTimersAndFlowsFromItsHandler) {
  SimGridKernel kernel(small_cluster(2, 1), kTwoNodes, kAll, milliseconds(1));
  Log log(kernel, [&](KernelEvent event) {
    if (event.index == 1) kernel.start_flow(megabyte(bytes_per_second(25e9)), {0, 2});
    if (event.index == 2) kernel.set_timer(kernel.now() + microseconds(5), {0, 3});
  });
  kernel.set_timer(microseconds(10), {0, 1});
  kernel.run(log);
  EXPECT_THAT(log.entries, ElementsAre(entry(1, 10), entry(2, 50), entry(3, 55)));
}

TEST(SimGridKernel, HoldsEachFlowToItsOwnCap) {
  SimGridKernel kernel(small_cluster(2, 1), kTwoNodes, kAll, milliseconds(1));
  Log log(kernel);
  kernel.start_flow(megabyte(bytes_per_second(5e9)), {0, 1});    // 200 us
  kernel.start_flow(megabyte(bytes_per_second(100e9)), {0, 2});  // what is left of 25 GB/s
  kernel.run(log);
  EXPECT_THAT(log.entries, ElementsAre(entry(2, 50), entry(1, 200)));
}

TEST(SimGridKernel, LetsAFlowBeginWhereAnotherJustEnded) {
  SimGridKernel kernel(small_cluster(2, 1), kTwoNodes, kAll, milliseconds(1));
  std::uint32_t next = 2;
  Log log(kernel, [&](KernelEvent) {
    if (next <= 4) kernel.start_flow(megabyte(bytes_per_second(25e9)), {0, next++});
  });
  kernel.start_flow(megabyte(bytes_per_second(25e9)), {0, 1});
  kernel.run(log);
  EXPECT_THAT(log.entries, ElementsAre(entry(1, 40), entry(2, 80), entry(3, 120), entry(4, 160)));
}

TEST(SimGridKernel, SendsFromANodeToItself) {
  SimGridKernel kernel(small_cluster(2, 1), kTwoNodes, kAll, milliseconds(1));
  Log log(kernel);
  Flow flow = megabyte(bytes_per_second(25e9));
  flow.to = 0;
  kernel.start_flow(flow, {0, 1});
  kernel.run(log);
  EXPECT_THAT(log.entries, ElementsAre(entry(1, 40)));
}

TEST(SimGridKernel, CanBeMadeAgainAndStartsAtZero) {
  for (int i = 0; i < 3; ++i) {
    SimGridKernel kernel(small_cluster(2, 1), kTwoNodes, kAll, milliseconds(1));
    EXPECT_EQ(kernel.now(), Seconds::zero());
    Log log(kernel);
    kernel.start_flow(megabyte(bytes_per_second(25e9)), {0, 1});
    kernel.run(log);
    EXPECT_THAT(log.entries, ElementsAre(entry(1, 40)));
  }
}

TEST(SimGridKernel, CanBeMadeAfterAClusterThatCannotBeBuilt) {
  Cluster broken = small_cluster(2, 1);
  broken.groups[0].nics.reset();
  EXPECT_THROW(SimGridKernel(broken, kTwoNodes, kAll, milliseconds(1)), ConfigError);
  SimGridKernel kernel(small_cluster(2, 1), kTwoNodes, kAll, milliseconds(1));
  Log log(kernel);
  kernel.set_timer(microseconds(10), {0, 1});
  kernel.run(log);
  EXPECT_THAT(log.entries, ElementsAre(entry(1, 10)));
}

TEST(SimGridKernel, IsTheOnlyOneOfItsProcess) {
  const SimGridKernel kernel(small_cluster(2, 1), kTwoNodes, kAll, milliseconds(1));
  EXPECT_THROW(SimGridKernel(small_cluster(2, 1), kTwoNodes, kAll, milliseconds(1)), InternalError);
}

TEST(SimGridKernel, RefusesPartsOfAByteWhichSimGridWouldDrop) {
  SimGridKernel kernel(small_cluster(2, 1), kTwoNodes, kAll, milliseconds(1));
  Flow flow = megabyte(bytes_per_second(25e9));
  for (const double size : {0.0, 1.5}) {
    flow.size = bytes(size);
    EXPECT_THROW(kernel.start_flow(flow, {0, 1}), InternalError);
  }
}

void ignore(int) {}
void give_up() { std::abort(); }

TEST(SimGridKernel, GivesBackTheHandlersOfTheProcess) {
  const auto old_interrupt = std::signal(SIGINT, ignore);
  const auto old_segmentation = std::signal(SIGSEGV, ignore);
  const auto old_terminate = std::set_terminate(give_up);
  {
    SimGridKernel kernel(small_cluster(2, 1), kTwoNodes, kAll, milliseconds(1));
    Log log(kernel);
    kernel.run(log);
  }
  EXPECT_EQ(std::signal(SIGINT, old_interrupt), ignore);
  EXPECT_EQ(std::signal(SIGSEGV, old_segmentation), ignore);
  EXPECT_EQ(std::set_terminate(old_terminate), give_up);
}

}  // namespace
}  // namespace orrery::sim
