// SPDX-License-Identifier: Apache-2.0
#include "traces/critical_path.h"

#include "tests/unit/traces/tiny_trace.h"

#include <gtest/gtest.h>

namespace orrery {
namespace {

using testing::span;
using testing::tiny_trace;

std::vector<std::string> names_of(const Trace& trace, const CriticalPath& path) {
  std::vector<std::string> names;
  for (const CriticalPath::Part& part : path.parts) {
    const Span at = trace.spans.at(part.span);
    names.push_back(std::to_string(at.rank) + " " + std::string(name_of(at.key.op)));
  }
  return names;
}

TEST(CriticalPath, FollowsTheMessageToTheRankThatWasLate) {
  const Trace trace = tiny_trace();
  const CriticalPath path = critical_path(trace, 0);
  EXPECT_EQ(names_of(trace, path),
            (std::vector<std::string>{"0 attn.qkv", "1 pp.recv_act", "1 head.logits", "1 norm.reduce"}));
  EXPECT_EQ(path.work, seconds(6));
  EXPECT_EQ(path.peer_wait, Seconds::zero());
  EXPECT_EQ(path.gap, Seconds::zero());
}

TEST(CriticalPath, FollowsACollectiveOfAllStages) {
  Trace trace;
  trace.spans.push_back(span(0, testing::kNorm0, Queue::world, 0, 4, 6, 1));
  trace.spans.push_back(span(1, testing::kNorm1, Queue::world, 4, 4, 5));
  trace.spans.push_back(span(1, testing::kLogits, Queue::compute, 0, 0, 4));
  const CriticalPath path = critical_path(trace, 0);
  EXPECT_EQ(names_of(trace, path), (std::vector<std::string>{"1 head.logits", "0 norm.reduce"}));
  EXPECT_EQ(path.work, seconds(6));
}

TEST(CriticalPath, CountsWaitingForAPeerWithoutSpans) {
  Trace trace;
  trace.spans.push_back(span(0, testing::kQkv, Queue::compute, 0, 0, 2));
  trace.spans.push_back(span(0, "step/mb0/stage0/layer0/fwd/moe.dispatch", Queue::ep, 2, 5, 6, 3));
  const CriticalPath path = critical_path(trace, 0);
  EXPECT_EQ(path.work, seconds(3));
  EXPECT_EQ(path.peer_wait, seconds(3));
  EXPECT_EQ(path.parts.at(1).peer_wait, seconds(3));
  EXPECT_EQ(path.total(), seconds(6));
}

TEST(CriticalPath, CountsTheTimeBetweenOpsOfARank) {
  Trace trace;
  trace.spans.push_back(span(0, testing::kQkv, Queue::compute, 0.5, 0.5, 2));
  trace.spans.push_back(span(0, "step/mb0/stage0/layer0/fwd/attn.core", Queue::compute, 2.25, 2.25, 3));
  const CriticalPath path = critical_path(trace, 0);
  EXPECT_EQ(path.work, seconds(2.25));
  EXPECT_EQ(path.parts.at(0).gap, seconds(0.5));
  EXPECT_EQ(path.parts.at(1).gap, seconds(0.25));
  EXPECT_EQ(path.total(), seconds(3));
}

TEST(CriticalPath, EndsEvenIfOpsTakeNoTimeAndClocksDisagree) {
  Trace trace;
  // Each of the two says that it waited for the other; everything at one time.
  trace.spans.push_back(span(0, testing::kNorm0, Queue::world, 0.5, 1, 1, 1));
  trace.spans.push_back(span(1, testing::kNorm1, Queue::world, 0.75, 1, 1, 0));
  for (const std::int32_t rank : {0, 1}) {
    trace.spans.push_back(span(rank, testing::kQkv, Queue::compute, 0.5, 0.5, 0.5));
    trace.spans.push_back(span(rank, testing::kLogits, Queue::compute, 0.5, 0.5, 0.5));
  }
  EXPECT_EQ(critical_path(trace, 0).total(), seconds(1));
}

TEST(CriticalPath, LooksAtOneStepOnly) {
  Trace trace = tiny_trace();
  Span late = span(0, testing::kQkv, Queue::compute, 0, 0, 9);
  late.step = 1;
  trace.spans.push_back(late);
  EXPECT_EQ(critical_path(trace, 0).total(), seconds(6));
  EXPECT_EQ(critical_path(trace, 1).total(), seconds(9));
  EXPECT_TRUE(critical_path(trace, 2).parts.empty());
}

TEST(SharedKey, IsOneForBothEndsOfAMessage) {
  const auto shared = [](const std::string& key) { return to_string(shared_key(parse_op_key(key).value())); };
  EXPECT_EQ(shared(testing::kSend), testing::kSend);
  EXPECT_EQ(shared(testing::kRecv), testing::kSend);
  EXPECT_EQ(shared("step/mb4/stage3/igrad/pp.send_grad"), "step/mb4/stage3/igrad/pp.send_grad");
  EXPECT_EQ(shared("step/mb4/stage2/igrad/pp.recv_grad"), "step/mb4/stage3/igrad/pp.send_grad");
  EXPECT_EQ(shared(testing::kNorm1), testing::kNorm0);
  EXPECT_EQ(shared(testing::kQkv), testing::kQkv);
}

}  // namespace
}  // namespace orrery
