// SPDX-License-Identifier: Apache-2.0
#include "executor/calibration/rank_samples.h"

#include "base/errors.h"

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

TEST(RankSamples, ComeBackAsTheyWereSent) {
  const RankSamples sent{
      .ops = {{.op = OpCode::moe_router, .pass = Pass::igrad, .shape = 7, .seconds = {1.25e-6, 0.1}},
              {.op = OpCode::adamw_dense, .pass = Pass::update, .shape = 0, .seconds = {3e-3}}},
      .collectives = {{.op = "all_to_all", .ranks = 2, .stride = 4, .bytes = 4096, .seconds = {1e-5}}},
      .gaps = {7e-7, 0.0},
      .steps = {0.5, 0.25}};
  const RankSamples received = read_rank_samples(to_json(sent), "rank 0");
  ASSERT_EQ(received.ops.size(), 2U);
  EXPECT_EQ(received.ops[0].op, OpCode::moe_router);
  EXPECT_EQ(received.ops[0].pass, Pass::igrad);
  EXPECT_EQ(received.ops[0].shape, 7U);
  EXPECT_EQ(received.ops[0].seconds, sent.ops[0].seconds);
  EXPECT_EQ(received.ops[1].pass, Pass::update);
  ASSERT_EQ(received.collectives.size(), 1U);
  EXPECT_EQ(received.collectives[0].op, "all_to_all");
  EXPECT_EQ(received.collectives[0].ranks, 2);
  EXPECT_EQ(received.collectives[0].stride, 4);
  EXPECT_EQ(received.collectives[0].bytes, 4096);
  EXPECT_EQ(received.collectives[0].seconds, sent.collectives[0].seconds);
  EXPECT_EQ(received.gaps, sent.gaps);
  EXPECT_EQ(received.steps, sent.steps);
}

TEST(RankSamples, ANegativeTimeIsRefused) {
  try {
    read_rank_samples(R"({"ops":[],"collectives":[],"gaps":[-1.0],"steps":[]})", "samples of rank 1");
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_STREQ(error.what(), "samples of rank 1:1: /gaps/0: expected a number of at least 0, got -1.0");
  }
}

}  // namespace
}  // namespace orrery::executor
