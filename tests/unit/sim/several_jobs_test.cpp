// SPDX-License-Identifier: Apache-2.0
// Several jobs on one network: what they share holds them up, what they do not share does not, and the others go on
// until the step that is asked for has ended. All dates are counted by hand.
#include "base/errors.h"
#include "sim/engine.h"
#include "sim/simulate.h"
#include "tests/conformance/programs.h"

#include <deque>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::sim {
namespace {

using orrery::testing::NanosecondPerByte;
using orrery::testing::ProgramBuilder;
using orrery::testing::small_cluster;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// Stage 0 sends `bytes` to stage 1 (5 us, then 40 us for each MB alone), which computes `after`.
ProgramBuilder message(std::int64_t bytes, Seconds after = {}) {
  ProgramBuilder builder(2, 1);
  builder.send_next(0, bytes);
  const OpIndex received = builder.recv_prev(1, bytes);
  if (after > Seconds::zero()) builder.compute(1, after, {received});
  return builder;
}

/// Jobs on nodes of one cluster, timed with every rank simulated.
class Jobs {
 public:
  explicit Jobs(Cluster cluster, Disturbances disturbances = {})
      : cluster_(std::move(cluster)), disturbances_(std::move(disturbances)) {}

  Jobs& add(const ProgramBuilder& builder, std::vector<std::int32_t> devices) {
    std::vector<DeviceIndex> places(devices.begin(), devices.end());
    programs_.push_back(builder.program());
    const Disturbances& of_it = timed_.empty() ? disturbances_ : Disturbances();
    timed_.push_back(time_program(programs_.back(), NanosecondPerByte(cluster_), cluster_, places,
                                  {.disturbances = of_it, .all_ranks = true}));
    return *this;
  }

  SharedRun run(const Fidelities& fidelities = Fidelity::l1) const { return run(fidelities, fidelities); }
  SharedRun run(const Fidelities& of_first, const Fidelities& of_others) const {
    std::vector<SimulatedJob> jobs;
    for (const costmodel::TimedProgram& timed : timed_) jobs.push_back({&timed, jobs.empty() ? of_first : of_others});
    return run_jobs(jobs, cluster_, true);
  }

  Trace trace() const {
    const OtherJob other{.name = "other", .timed = &timed_[1]};
    return simulate(timed_[0], cluster_, {.all_ranks = true}, Fidelity::l1, {&other, 1});
  }

 private:
  Cluster cluster_;
  Disturbances disturbances_;
  std::deque<StepProgram> programs_;
  std::deque<costmodel::TimedProgram> timed_;
};

double microseconds_of(const SharedRun& run) { return run.dates.makespan.in(unit::microsecond); }

std::vector<std::int64_t> whole_microseconds(const std::vector<Seconds>& times) {
  std::vector<std::int64_t> whole;
  for (const Seconds time : times) whole.push_back(std::llround(time.in(unit::microsecond)));
  return whole;
}

TEST(SeveralJobs, OneAloneIsAsWithoutThis) {
  EXPECT_NEAR(microseconds_of(Jobs(small_cluster(2, 1)).add(message(1000000, microseconds(100)), {0, 1}).run()), 145.0,
              1e-6);
}

TEST(SeveralJobs, EqualMessagesOfTwoShareANic) {
  // Two devices a node: 50 GB/s for both, and a cap of 25 GB/s for a message, so nothing is shared...
  Jobs wide(small_cluster(2, 2));
  wide.add(message(1000000), {0, 2}).add(message(1000000), {1, 3});
  EXPECT_NEAR(microseconds_of(wide.run()), 45.0, 1e-6);
  // ... and with one NIC for both half is left for each.
  Cluster narrow = small_cluster(2, 2);
  narrow.groups.front().nics->per_node = narrow.groups.front().nics->rails = 1;
  for (const Fidelity fidelity : {Fidelity::l1, Fidelity::l3}) {
    Jobs jobs(narrow);
    jobs.add(message(1000000), {0, 2}).add(message(1000000), {1, 3});
    EXPECT_NEAR(microseconds_of(jobs.run(fidelity)), 85.0, 1e-6);
    // Each has a fidelity of its own: in closed form neither is in the way of the other.
    EXPECT_NEAR(microseconds_of(jobs.run(fidelity, Fidelity::l0)), 45.0, 1e-6);
  }
}

TEST(SeveralJobs, AJobBetweenNodesAndOneBetweenDevicesShareTheNic) {
  Cluster narrow = small_cluster(2, 2);
  narrow.groups.front().nics->per_node = narrow.groups.front().nics->rails = 1;
  ProgramBuilder back(2, 1);  // the other way round, so that its op has another name
  back.send_prev(1, 1000000);
  back.recv_next(0, 1000000);
  Jobs jobs(narrow);
  jobs.add(back, {2, 0}).add(message(1000000), {1, 3});
  EXPECT_NEAR(microseconds_of(jobs.run({Fidelity::l1, {{OpCode::pp_send_act, Fidelity::l3}}})), 85.0, 1e-6);
}

TEST(SeveralJobs, OneWithinANodeDoesNotHoldUpOneBetweenNodes) {
  // 1 MB over the scale-up port of 200 GB/s of its node, at the 100 GB/s of a device: 1 us and 10 us.
  Jobs jobs(small_cluster(2, 2));
  jobs.add(message(1000000), {0, 2}).add(message(1000000), {1, 0});
  const SharedRun run = jobs.run();
  EXPECT_NEAR(microseconds_of(run), 45.0, 1e-6);
  EXPECT_THAT(whole_microseconds(run.step_times[1]), ElementsAre(11, 11, 11, 11));
}

TEST(SeveralJobs, PairsOfNodesBelongToTheirJob) {
  // An all-to-all over two nodes for each of two jobs: the same on nodes of its own as alone, at each fidelity.
  ProgramBuilder exchange(1, 2, 2);
  exchange.collective(0, CollectiveKind::all_to_all, Queue::ep, Group::ep, 2000000);
  for (const Fidelity fidelity : {Fidelity::l1, Fidelity::l2, Fidelity::l3}) {
    const double alone = microseconds_of(Jobs(small_cluster(4, 1)).add(exchange, {0, 1}).run(fidelity));
    Jobs apart(small_cluster(4, 1));
    apart.add(exchange, {0, 1}).add(exchange, {2, 3});
    EXPECT_NEAR(alone, 45.0, 1e-6);
    EXPECT_NEAR(microseconds_of(apart.run(fidelity)), 45.0, 1e-6);
    Jobs together(small_cluster(4, 1));
    together.add(exchange, {0, 1}).add(exchange, {0, 1});
    EXPECT_NEAR(microseconds_of(together.run(fidelity)), 85.0, 1e-6);
  }
}

TEST(SeveralJobs, OthersRepeatTheirStepUntilTheFirstEnds) {
  // Both begin at 5. The small one, 500 KB, ends at 45; while it waits its 5 us the large one is alone, then they share
  // again until the large one has arrived at 80. Alone, a small one takes 25; the first job ends at 180.
  Jobs jobs(small_cluster(2, 1));
  jobs.add(message(1000000, microseconds(100)), {0, 1}).add(message(500000), {0, 1});
  const SharedRun run = jobs.run();
  EXPECT_NEAR(microseconds_of(run), 180.0, 1e-6);
  EXPECT_THAT(whole_microseconds(run.step_times[1]), ElementsAre(45, 40, 25, 25, 25));
}

TEST(SeveralJobs, WhoSharesNothingIsNotHeldUp) {
  Jobs jobs(small_cluster(4, 1));
  jobs.add(message(1000000, microseconds(100)), {0, 1}).add(message(1000000), {2, 3});
  const SharedRun run = jobs.run();
  EXPECT_NEAR(microseconds_of(run), 145.0, 1e-6);
  EXPECT_THAT(whole_microseconds(run.step_times[1]), ElementsAre(45, 45, 45));
}

TEST(SeveralJobs, NodesOfTwoJobsBelowOneLeafShareItsUplink) {
  // Two nodes below a leaf, uplinks of 25 GB/s for both: alone a message has it all, beside another half of it.
  Cluster cluster = small_cluster(4, 1);
  cluster.fabric.oversubscription = 2.0;
  EXPECT_NEAR(microseconds_of(Jobs(cluster).add(message(1000000), {0, 2}).run()), 45.0, 1e-6);
  EXPECT_NEAR(microseconds_of(Jobs(cluster).add(message(1000000), {0, 2}).add(message(1000000), {1, 3}).run()), 85.0,
              1e-6);
}

TEST(SeveralJobs, ThreeShareInThirds) {
  Jobs jobs(small_cluster(2, 1));
  jobs.add(message(1000000), {0, 1}).add(message(1000000), {0, 1}).add(message(1000000), {0, 1});
  EXPECT_NEAR(microseconds_of(jobs.run()), 125.0, 1e-6);
}

TEST(SeveralJobs, ALinkThatIsDownForTheFirstEndsTheSimulationThoughOthersGoOn) {
  Jobs jobs(small_cluster(4, 1), {.links = {{.node = 0, .left = 0.0}}});
  jobs.add(message(1000000), {0, 1}).add(message(1000000), {2, 3});
  try {
    jobs.run();
    FAIL() << "expected the step not to end";
  } catch (const BackendError& error) {
    EXPECT_THAT(error.what(), HasSubstr("the step does not end"));
    EXPECT_THAT(error.what(), HasSubstr("node0.nic.out"));
    EXPECT_THAT(error.what(), HasSubstr("on rank"));
  }
}

TEST(SeveralJobs, ANoteSaysWhatBecameOfTheOther) {
  Jobs jobs(small_cluster(4, 1));
  jobs.add(message(1000000, microseconds(100)), {0, 1}).add(message(1000000), {2, 3});
  EXPECT_THAT(jobs.trace().header.notes, ::testing::Contains("beside other: 3 steps of it ended, 45.0 us on average"));
  Jobs quick(small_cluster(4, 1));
  quick.add(message(1000000), {0, 1}).add(message(4000000), {2, 3});
  EXPECT_THAT(quick.trace().header.notes, ::testing::Contains("beside other: no step of it ended in 45.0 us"));
}

}  // namespace
}  // namespace orrery::sim
