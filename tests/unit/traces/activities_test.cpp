// SPDX-License-Identifier: Apache-2.0
#include "traces/activities.h"

#include "program/lower.h"
#include "tests/unit/program/random_strategies.h"
#include "tests/unit/traces/tiny_trace.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

namespace orrery {
namespace {

using testing::span;
using testing::tiny_trace;

constexpr const char* kNorm = "step/mb0/stage0/layer0/fwd/attn.norm";
constexpr const char* kGather = "step/mb0/stage0/layer0/fwd/tp.attn_in";

/// What a device does, second by second: its compute queue decides, else any communication.
Activities by_counting(const Trace& trace, int seconds_of_step) {
  std::array<double, 3> sums{};
  const Spans& spans = trace.spans;
  for (int second = 0; second < seconds_of_step; ++second) {
    int what = 3;
    for (std::size_t i = 0; i < spans.size(); ++i) {
      if (spans.start()[i] > second || spans.end()[i] < second + 1) continue;
      what = std::min(what, spans.queue()[i] != Queue::compute ? 2 : is_product(spans.key()[i].op) ? 0 : 1);
    }
    if (what < 3) sums[static_cast<std::size_t>(what)] += 1.0;
  }
  return {.products = seconds(sums[0]), .streaming = seconds(sums[1]), .communication = seconds(sums[2])};
}

TEST(Activities, AreTheMeanOfTheDevices) {
  // Rank 0: a product of 2 s, 1 s to send, 1 s of the norm; rank 1: 1 s to receive, a product of 2 s, the norm.
  EXPECT_EQ(activities(tiny_trace()),
            (Activities{.products = seconds(2), .streaming = {}, .communication = seconds(2)}));
}

TEST(Activities, CountRanksThatOthersStandFor) {
  Trace trace = tiny_trace();
  trace.header.num_ranks = 4;
  trace.header.represents = {{0, 3}, {1, 1}};
  trace.spans.push_back(span(0, kNorm, Queue::compute, 3, 3, 5));
  EXPECT_EQ(activities(trace).streaming, seconds(3 * 2 / 4.0));
  EXPECT_EQ(activities(trace).products, seconds(2));
}

TEST(Activities, AreOfOneStep) {
  Trace trace = tiny_trace();
  trace.steps.push_back({.step = 1, .time = seconds(8)});
  EXPECT_EQ(activities(trace).products, seconds(1));
}

TEST(Activities, AddUpRankByRank) {
  Trace trace = tiny_trace();
  trace.spans.push_back(span(0, kNorm, Queue::compute, 3, 3, 5));
  ActivityCount count;
  for (const std::int32_t rank : {0, 1}) {
    Spans of_rank;
    for (std::size_t i = 0; i < trace.spans.size(); ++i) {
      if (trace.spans.rank()[i] == rank) of_rank.push_back(trace.spans.at(i));
    }
    count.add(trace, of_rank);
  }
  EXPECT_EQ(count.mean(trace), activities(trace));
  EXPECT_EQ(count.utilisation(trace), compute_utilisation(trace));
}

TEST(Activities, WaitingForAPeerIsNoCommunication) {
  Trace trace;
  trace.header.num_ranks = 1;
  trace.steps.push_back({.time = seconds(10)});
  trace.spans.push_back(span(0, kGather, Queue::tp, 0, 4, 7));
  EXPECT_EQ(activities(trace), (Activities{.products = {}, .streaming = {}, .communication = seconds(3)}));
}

TEST(Activities, CommunicationBesideComputeOrAnotherOneCountsOnce) {
  std::uint64_t state = 7;
  const auto below = [&](std::uint64_t n) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<int>((state >> 33) % n);
  };
  for (int round = 0; round < 200; ++round) {
    Trace trace;
    trace.header.num_ranks = 1;
    trace.steps.push_back({.time = seconds(40)});
    int now = below(4);
    while (now < 36) {
      const int end = std::min(40, now + below(5));
      trace.spans.push_back(span(0, below(2) == 0 ? testing::kQkv : kNorm, Queue::compute, now, now, end));
      now = end + below(4);
    }
    for (int i = 0; i < below(9); ++i) {
      const int start = below(36);
      trace.spans.push_back(span(0, kGather, i % 2 == 0 ? Queue::tp : Queue::copy, start, start, start + below(6)));
    }
    ASSERT_EQ(activities(trace), by_counting(trace, 40)) << round;
  }
}

// A trace has names of ops and no shapes; an optimizer that multiplies has ops of both kinds under one name.
TEST(Activities, OpsThatMultiplyHaveShapesOfProducts) {
  testing::for_random_cases(300, [](const testing::RandomCase& c, std::uint64_t index) {
    const StepProgram program = lower(c.model, c.strategy, c.batch, c.num_devices);
    for (const RankClass& of : program.classes) {
      for (const Op& op : of.ops) {
        if (op.queue != Queue::compute || op.key.op == OpCode::muon_dense || op.key.op == OpCode::muon_expert) continue;
        const bool multiplies = !std::holds_alternative<MemoryShape>(program.shapes[op.shape]);
        ASSERT_EQ(is_product(op.key.op), multiplies) << to_string(op.key) << " " << index;
      }
    }
  });
}

}  // namespace
}  // namespace orrery
