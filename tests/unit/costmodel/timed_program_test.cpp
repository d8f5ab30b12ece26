// SPDX-License-Identifier: Apache-2.0
#include "costmodel/timed_program.h"

#include "tests/conformance/programs.h"

#include <memory>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

using ::testing::ElementsAre;
using testing::NanosecondPerByte;
using testing::ProgramBuilder;
using testing::small_cluster;

TimedProgram timed(const ProgramBuilder& builder, const Cluster& cluster, const RunInput& input = {}) {
  return time_program(builder.program(), NanosecondPerByte(cluster), cluster, {}, input);
}

/// Two stages of four ranks; each stage exchanges in pairs, reduces over its four, and all eight meet at the end.
ProgramBuilder two_stages() {
  ProgramBuilder builder(2, 4, 2);
  for (std::int64_t stage : {0, 1}) {
    const OpIndex dispatch = builder.dispatch(stage, 100, 1000);
    const OpIndex experts = builder.experts(stage, 100, {dispatch});
    builder.all_reduce(stage, Queue::dp, Group::dp, 4000, {experts});
    builder.all_reduce(stage, Queue::world, Group::world, 8, {experts});
  }
  return builder;
}

TEST(TimedProgram, SimulatesOneRankOfEachClassUnderABalancedLoad) {
  const ProgramBuilder builder = two_stages();
  const TimedProgram program = timed(builder, small_cluster(4, 2));
  ASSERT_EQ(program.ranks.size(), 2);
  EXPECT_EQ(program.ranks[1].view.rank, RankId(4));
  EXPECT_EQ(program.ranks[0].represents, 4);
  EXPECT_EQ(program.ranks[0].represents_on_node, 2);
}

TEST(TimedProgram, SimulatesEveryRankUnderAnyOtherLoad) {
  const ProgramBuilder builder = two_stages();
  const TimedProgram program = timed(builder, small_cluster(1, 8), {.load = DirichletLoad{.alpha = 1.0}});
  ASSERT_EQ(program.ranks.size(), 8);
  double rows = 0.0;
  for (std::size_t r : {0, 1}) rows += program.ranks[r].compute_time[1].in(unit::nanosecond);
  EXPECT_NEAR(rows, 200.0, 1e-9);  // what two ranks send arrives at the two
  EXPECT_NE(program.ranks[0].compute_time[1], program.ranks[1].compute_time[1]);
}

TEST(TimedProgram, SimulatesEveryRankWhenSequencesHaveDocuments) {
  const auto lengths = std::make_shared<const PackedLengths>(PackedLengths{.documents = {1}});
  EXPECT_EQ(timed(two_stages(), small_cluster(1, 8), {.sequences = lengths}).ranks.size(), 8);
}

TEST(TimedProgram, ARouterActsOnComputeAndOnBothWays) {
  // Three of four pairs go to the experts of rank 1; ranks 2 and 3 are another EP group, with a routing of its own.
  const auto recorded = std::make_shared<RecordedLoad>();
  recorded->matrices[{0, 0, 0}] = {.group = 2, .num_experts = 2, .pairs = {25, 75, 25, 75}};
  recorded->matrices[{0, 0, 1}] = {.group = 2, .num_experts = 2, .pairs = {50, 50, 50, 50}};
  for (const std::int64_t micro_batch : {1, 2}) {
    for (const std::int64_t group : {0, 1}) {
      recorded->matrices[{0, micro_batch, group}] = recorded->matrices[{0, 0, group}];
    }
  }
  ProgramBuilder builder(1, 4, 2, 2);
  const OpIndex dispatch = builder.dispatch(0, 100, 1000);
  const OpIndex experts = builder.experts(0, 100, {dispatch});
  const OpIndex combine = builder.combine(0, 100, 1000, {experts});
  const TimedProgram program =
      timed(builder, small_cluster(1, 4), {.load = std::shared_ptr<const RecordedLoad>(recorded)});
  const auto& ranks = program.ranks;
  EXPECT_EQ(ranks[0].compute_time[experts], 50.0 * unit::nanosecond);
  EXPECT_EQ(ranks[1].compute_time[experts], 150.0 * unit::nanosecond);
  EXPECT_EQ(ranks[2].compute_time[experts], 100.0 * unit::nanosecond);
  EXPECT_EQ(ranks[0].sent[dispatch], bytes(75'000));
  EXPECT_EQ(ranks[1].sent[dispatch], bytes(25'000));
  EXPECT_EQ(ranks[0].sent[combine], bytes(25'000));
  EXPECT_EQ(ranks[1].sent[combine], bytes(75'000));
  EXPECT_EQ(ranks[3].sent[combine], bytes(50'000));
  const auto alone = [&](std::size_t rank, OpIndex op) { return program.time_of(ranks[rank].meeting[op]).alone(); };
  EXPECT_GT(alone(0, dispatch), alone(2, dispatch));
  EXPECT_EQ(alone(0, dispatch), alone(0, combine));
}

TEST(TimedProgram, AnAssumedLoadDiffersBetweenLayersAndNotBetweenMicroBatchesOrGroups) {
  ProgramBuilder builder(1, 8, 2);
  const OpIndex first = builder.experts(0, 1000), second = builder.experts(0, 1000);
  const TimedProgram program = timed(builder, small_cluster(1, 8), {.load = DirichletLoad{.alpha = 1.0, .seed = 2}});
  for (const std::size_t rank : {0, 1}) {
    const SharedColumn<Seconds>& times = program.ranks[rank].compute_time;
    EXPECT_EQ(times[first], times[second]);
    for (std::size_t other = rank; other < 8; other += 2) EXPECT_EQ(program.ranks[other].compute_time, times);
  }
  EXPECT_NE(program.ranks[0].compute_time[first], program.ranks[1].compute_time[first]);
}

TEST(TimedProgram, SimulatesEveryRankWhenDevicesDiffer) {
  const ProgramBuilder builder = two_stages();
  Cluster cluster = small_cluster(1, 4);
  cluster.groups.push_back(cluster.groups.front());
  EXPECT_EQ(timed(builder, cluster).ranks.size(), 8);
}

TEST(TimedProgram, LetsTheMembersOfAGroupMeet) {
  const ProgramBuilder builder = two_stages();
  const TimedProgram program = timed(builder, small_cluster(1, 8), {.all_ranks = true});
  ASSERT_EQ(program.ranks.size(), 8);
  const auto met_by = [&](std::size_t rank, std::size_t op) {
    const auto participants = program.participants_of(program.ranks[rank].meeting[op]);
    return std::vector<std::uint32_t>(participants.begin(), participants.end());
  };
  EXPECT_THAT(met_by(2, 0), ElementsAre(2, 3));
  EXPECT_THAT(met_by(3, 0), ElementsAre(2, 3));
  EXPECT_THAT(met_by(5, 2), ElementsAre(4, 5, 6, 7));
  EXPECT_THAT(met_by(6, 3), ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
  EXPECT_EQ(program.ranks[0].meeting[3], program.ranks[7].meeting[3]);
  EXPECT_NE(program.ranks[0].meeting[0], program.ranks[2].meeting[0]);
  EXPECT_EQ(program.ranks[0].meeting[1], kNoMeeting);
}

TEST(TimedProgram, KeepsWhatIsAlikeOnce) {
  // Two stages of four ranks each, all of them simulated.
  const ProgramBuilder builder = two_stages();
  const TimedProgram program = timed(builder, small_cluster(1, 8), {.all_ranks = true});
  EXPECT_TRUE(program.ranks[3].compute_time.is(program.ranks[0].compute_time));
  EXPECT_TRUE(program.ranks[3].sent.is(program.ranks[0].sent));
  EXPECT_FALSE(program.ranks[4].compute_time.is(program.ranks[0].compute_time));  // another class
  EXPECT_LT(program.comm_times.size(), program.meetings.size());
  for (std::size_t i = 0; i < program.comm_times.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      const CommTime &a = program.comm_times[i], &b = program.comm_times[j];
      EXPECT_FALSE(a.latency == b.latency && a.alone() == b.alone() && a.num_legs == b.num_legs &&
                   a.legs[0].bytes == b.legs[0].bytes);
    }
  }
  // A slow rank has times of its own.
  const TimedProgram disturbed = timed(
      builder, small_cluster(1, 8), {.disturbances = {.stragglers = {{.rank = 1, .factor = 2.0}}}, .all_ranks = true});
  EXPECT_NE(disturbed.ranks[1].compute_time, disturbed.ranks[0].compute_time);
  EXPECT_EQ(disturbed.ranks[3].compute_time, disturbed.ranks[0].compute_time);
  EXPECT_EQ(disturbed.ranks[0].compute_time, program.ranks[0].compute_time);
}

// In DualPipe ranks 0, 1 and 6, 7 of four stages of two hold the same stages, as do 2 .. 5.
TEST(TimedProgram, LetsMirroredPipelineRanksMeetAcrossClasses) {
  ProgramBuilder builder(4, 2, 1, 8, Schedule::dualpipe);
  for (const std::int64_t rank : {0, 1, 2, 3}) {
    builder.all_reduce(rank, Queue::dp, Group::dp, 4000);
    builder.all_reduce(rank, Queue::world, Group::world, 8);
    builder.all_reduce(rank, Queue::dp, Group::dp, 8000);
  }
  const auto met_by = [](const TimedProgram& program, std::size_t rank, std::size_t op) {
    const auto participants = program.participants_of(program.ranks[rank].meeting[op]);
    return std::vector<std::uint32_t>(participants.begin(), participants.end());
  };
  const TimedProgram folded = timed(builder, small_cluster(1, 8));
  EXPECT_THAT(met_by(folded, 0, 0), ElementsAre(0, 3));
  EXPECT_THAT(met_by(folded, 2, 0), ElementsAre(1, 2));
  EXPECT_EQ(folded.ranks[0].meeting[2], folded.ranks[3].meeting[2]);
  EXPECT_NE(folded.ranks[0].meeting[0], folded.ranks[0].meeting[2]);
  EXPECT_EQ(folded.meetings.size(), 2 * 2 + 1);
  const TimedProgram full = timed(builder, small_cluster(1, 8), {.all_ranks = true});
  EXPECT_THAT(met_by(full, 1, 0), ElementsAre(0, 1, 6, 7));
  EXPECT_THAT(met_by(full, 4, 2), ElementsAre(2, 3, 4, 5));
  // The group of the upper class is timed over the same four devices as that of the lower one.
  EXPECT_EQ(folded.time_of(folded.ranks[3].meeting[2]).alone(), full.time_of(full.ranks[7].meeting[2]).alone());
}

TEST(TimedProgram, PairsTheNthSendWithTheNthReceiveOfAnEdge) {
  ProgramBuilder builder(2, 1);
  builder.send_next(0, 100);
  builder.recv_next(0, 300);
  builder.send_next(0, 200);
  builder.recv_prev(1, 100);
  builder.recv_prev(1, 200);
  builder.send_prev(1, 300);
  const TimedProgram program = timed(builder, small_cluster(1, 2));
  const std::vector<MeetingIndex>&first = program.ranks[0].meeting, &second = program.ranks[1].meeting;
  EXPECT_EQ(first[0], second[0]);
  EXPECT_EQ(first[2], second[1]);
  EXPECT_EQ(first[1], second[2]);
  EXPECT_TRUE(program.meetings[first[0]].message);
  EXPECT_THAT(program.participants_of(first[1]), ElementsAre(1, 0));  // sender, then receiver
  EXPECT_EQ(program.ranks[0].sent[0], bytes(100));
  EXPECT_EQ(program.ranks[1].sent[0], bytes(0));
}

TEST(TimedProgram, CountsThePayloadThatLeavesTheRank) {
  const TimedProgram program = timed(two_stages(), small_cluster(1, 8));
  EXPECT_EQ(program.ranks[0].sent[0], bytes(50 * 1000));        // half of the pairs stay
  EXPECT_EQ(program.ranks[0].sent[2], bytes(2 * 0.75 * 4000));  // ring all-reduce of 4
}

TEST(TimedProgram, TakesTheSlowestOfTheGroupsThatARankStandsFor) {
  // EP groups of two on nodes of three: ranks 0 and 1 share a node, 2 and 3 do not.
  ProgramBuilder builder(1, 6, 2);
  builder.dispatch(0, 100, 1000);
  const TimedProgram program = timed(builder, small_cluster(2, 3));
  ASSERT_EQ(program.meetings.size(), 1);
  EXPECT_EQ(program.time_of(0).legs[0].path, PathClass::rail);
}

TEST(TimedProgram, FollowsThePlacementOfRanks) {
  ProgramBuilder builder(2, 1);
  builder.send_next(0, 1000);
  builder.recv_prev(1, 1000);
  const Cluster cluster = small_cluster(4, 2);
  const std::vector<DeviceIndex> far = {DeviceIndex(0), DeviceIndex(7)};
  const TimedProgram program = time_program(builder.program(), NanosecondPerByte(cluster), cluster, far, {});
  EXPECT_EQ(program.time_of(0).legs[0].path, PathClass::spine);
  EXPECT_EQ(program.ranks[1].device, DeviceIndex(7));
}

/// Says of every op that it was extrapolated.
class Unmeasured : public NanosecondPerByte {
 public:
  using NanosecondPerByte::NanosecondPerByte;
  OpTime compute(const OpKey& key, const OpShape& shape, const ResolvedLoad& load, DeviceIndex at) const override {
    return {.time = NanosecondPerByte::compute(key, shape, load, at).time, .extrapolated = true};
  }
};

TEST(TimedProgram, NamesExtrapolatedOpsOnce) {
  const Cluster cluster = small_cluster(1, 8);
  ProgramBuilder builder = two_stages();
  builder.compute(0, microseconds(1));
  const TimedProgram program = time_program(builder.program(), Unmeasured(cluster), cluster, {}, {});
  EXPECT_THAT(program.extrapolated, ElementsAre("mlp.fc1", "moe.act"));
}

}  // namespace
}  // namespace orrery::costmodel
