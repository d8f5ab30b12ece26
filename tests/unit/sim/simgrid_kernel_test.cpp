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

/// Two nodes of one device, three lanes each.
const Network& two_nodes() {
  static const Network network(small_cluster(2, 1), {{.node = 0, .num_lanes = 3}, {.node = 1, .num_lanes = 3}},
                               {true, true, true});
  return network;
}

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

/// Sends a megabyte from the first node.
void send_megabyte(SimGridKernel& kernel, BytesPerSecond cap, std::uint32_t index, SiteIndex to = 1) {
  const Part parts[] = {{.path = PathClass::rail, .to = to, .size = bytes(1e6)}};
  kernel.start({.from = 0, .cap = cap}, parts, {0, index});
}

TEST(SimGridKernel, FiresTimersInTheOrderOfTheirDates) {
  SimGridKernel kernel(two_nodes(), milliseconds(1));
  Log log(kernel);
  kernel.set_timer(microseconds(30), {0, 3});
  kernel.set_timer(microseconds(10), {0, 1});
  kernel.cancel(kernel.set_timer(microseconds(20), {0, 2}));
  kernel.run(log);
  EXPECT_THAT(log.entries, ElementsAre(entry(1, 10), entry(3, 30)));
}

TEST(SimGridKernel, StartsTimersAndFlowsFromItsHandler) {
  SimGridKernel kernel(two_nodes(), milliseconds(1));
  Log log(kernel, [&](KernelEvent event) {
    if (event.index == 1) send_megabyte(kernel, bytes_per_second(25e9), 2);
    if (event.index == 2) kernel.set_timer(kernel.now() + microseconds(5), {0, 3});
  });
  kernel.set_timer(microseconds(10), {0, 1});
  kernel.run(log);
  EXPECT_THAT(log.entries, ElementsAre(entry(1, 10), entry(2, 50), entry(3, 55)));
}

TEST(SimGridKernel, HoldsEachFlowToItsOwnCap) {
  SimGridKernel kernel(two_nodes(), milliseconds(1));
  Log log(kernel);
  send_megabyte(kernel, bytes_per_second(5e9), 1);    // 200 us
  send_megabyte(kernel, bytes_per_second(100e9), 2);  // what is left of 25 GB/s
  kernel.run(log);
  EXPECT_THAT(log.entries, ElementsAre(entry(2, 50), entry(1, 200)));
}

TEST(SimGridKernel, LetsAFlowBeginWhereAnotherJustEnded) {
  SimGridKernel kernel(two_nodes(), milliseconds(1));
  std::uint32_t next = 2;
  Log log(kernel, [&](KernelEvent) {
    if (next <= 4) send_megabyte(kernel, bytes_per_second(25e9), next++);
  });
  send_megabyte(kernel, bytes_per_second(25e9), 1);
  kernel.run(log);
  EXPECT_THAT(log.entries, ElementsAre(entry(1, 40), entry(2, 80), entry(3, 120), entry(4, 160)));
}

TEST(SimGridKernel, SendsFromANodeToItself) {
  SimGridKernel kernel(two_nodes(), milliseconds(1));
  Log log(kernel);
  send_megabyte(kernel, bytes_per_second(25e9), 1, 0);
  kernel.run(log);
  EXPECT_THAT(log.entries, ElementsAre(entry(1, 40)));
}

TEST(SimGridKernel, CanBeMadeAgainAndStartsAtZero) {
  for (int i = 0; i < 3; ++i) {
    SimGridKernel kernel(two_nodes(), milliseconds(1));
    EXPECT_EQ(kernel.now(), Seconds::zero());
    Log log(kernel);
    send_megabyte(kernel, bytes_per_second(25e9), 1);
    kernel.run(log);
    EXPECT_THAT(log.entries, ElementsAre(entry(1, 40)));
  }
}

TEST(SimGridKernel, SendsTheNextPartWhenOneEnds) {
  const Part parts[] = {{.path = PathClass::rail, .to = 1, .size = bytes(1e6)},
                        {.path = PathClass::rail, .to = 0, .size = bytes(2e6)},
                        {.path = PathClass::spine, .to = 1, .size = bytes(1e6)}};
  for (const std::size_t at_once : {1, 2, 3, 4}) {
    SimGridKernel kernel(two_nodes(), milliseconds(1));
    Log log(kernel);
    kernel.start({.from = 0, .cap = bytes_per_second(20e9), .at_once = at_once}, parts, {0, 1});
    send_megabyte(kernel, bytes_per_second(5e9), 2, 0);  // what the others leave
    kernel.run(log);
    // Both end at the same date, in whatever order.
    EXPECT_THAT(log.entries, ::testing::UnorderedElementsAre(entry(1, 200), entry(2, 200))) << at_once;
  }
}

TEST(SimGridKernel, IsTheOnlyOneOfItsProcess) {
  const SimGridKernel kernel(two_nodes(), milliseconds(1));
  EXPECT_THROW(SimGridKernel(two_nodes(), milliseconds(1)), InternalError);
}

TEST(SimGridKernel, RefusesPartsOfAByteWhichSimGridWouldDrop) {
  SimGridKernel kernel(two_nodes(), milliseconds(1));
  for (const double size : {0.0, 1.5}) {
    const Part parts[] = {{.path = PathClass::rail, .to = 1, .size = bytes(size)}};
    EXPECT_THROW(kernel.start({.from = 0, .cap = bytes_per_second(25e9)}, parts, {0, 1}), InternalError);
  }
}

TEST(SimGridKernel, ChangesBandwidthsWhileFlowsAreOnThem) {
  SimGridKernel kernel(two_nodes(), milliseconds(1));
  const PortIndex nic = two_nodes().way(0, PathClass::rail).front();
  Log log(kernel, [&](KernelEvent event) {
    if (event.index == 1) kernel.set_bandwidth(nic, false, bytes_per_second(12.5e9));
    if (event.index == 2) kernel.set_bandwidth(nic, false, bytes_per_second(25e9));
  });
  send_megabyte(kernel, bytes_per_second(100e9), 3);
  kernel.set_timer(microseconds(10), {0, 1});
  kernel.set_timer(microseconds(30), {0, 2});  // by then half of it has arrived
  kernel.run(log);
  EXPECT_THAT(log.entries, ElementsAre(entry(1, 10), entry(2, 30), entry(3, 50)));
}

TEST(SimGridKernel, LetsFlowsStandStillWhileALinkIsDown) {
  SimGridKernel kernel(two_nodes(), milliseconds(1));
  const PortIndex nic = two_nodes().way(0, PathClass::rail).front();
  Log log(kernel, [&](KernelEvent event) {
    if (event.index == 1) kernel.set_bandwidth(nic, false, {});
    if (event.index == 2) send_megabyte(kernel, bytes_per_second(100e9), 5);  // cannot begin
    if (event.index == 3) kernel.set_bandwidth(nic, false, bytes_per_second(25e9));
  });
  send_megabyte(kernel, bytes_per_second(100e9), 4);
  kernel.set_timer(microseconds(20), {0, 1});  // 0.5 MB are left
  kernel.set_timer(microseconds(30), {0, 2});
  kernel.set_timer(microseconds(100), {0, 3});
  kernel.run(log);
  // Both at half speed: the first for 40 us; then half a megabyte alone.
  EXPECT_THAT(log.entries, ElementsAre(entry(1, 20), entry(2, 30), entry(3, 100), entry(4, 140), entry(5, 160)));
}

TEST(SimGridKernel, EndsWhenNothingCanMove) {
  SimGridKernel kernel(two_nodes(), milliseconds(1));
  Log log(kernel);
  kernel.set_bandwidth(two_nodes().way(1, PathClass::rail).front(), true, {});
  send_megabyte(kernel, bytes_per_second(100e9), 1);
  kernel.run(log);
  EXPECT_THAT(log.entries, ::testing::IsEmpty());
}

void ignore(int) {}
void give_up() { std::abort(); }

TEST(SimGridKernel, GivesBackTheHandlersOfTheProcess) {
  const auto old_interrupt = std::signal(SIGINT, ignore);
  const auto old_segmentation = std::signal(SIGSEGV, ignore);
  const auto old_terminate = std::set_terminate(give_up);
  {
    SimGridKernel kernel(two_nodes(), milliseconds(1));
    Log log(kernel);
    kernel.run(log);
  }
  EXPECT_EQ(std::signal(SIGINT, old_interrupt), ignore);
  EXPECT_EQ(std::signal(SIGSEGV, old_segmentation), ignore);
  EXPECT_EQ(std::set_terminate(old_terminate), give_up);
}

}  // namespace
}  // namespace orrery::sim
