// SPDX-License-Identifier: Apache-2.0
#include "executor/comm/self_communicator.h"

#include "base/errors.h"

#include <string>

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

TEST(SelfCommunicator, SumsAreWhatTheyWereAndNothingIsSent) {
  SelfCommunicator self;
  EXPECT_EQ(self.rank(), 0);
  EXPECT_EQ(self.size(), 1);
  std::vector<float> values = {1, 2, 3};
  const CommReport report = self.all_reduce(std::span<float>(values), "step/sum");
  EXPECT_EQ(values, (std::vector<float>{1, 2, 3}));
  EXPECT_EQ(report.bytes_sent, 0);
  EXPECT_EQ(report.last_peer, -1);
  std::vector<float> output(3);
  EXPECT_EQ(self.reduce_scatter(std::span<const float>(values), std::span<float>(output), "step/rs").bytes_sent, 0);
  EXPECT_EQ(output, values);
}

TEST(SelfCommunicator, GathersAndExchangesAreCopies) {
  SelfCommunicator self;
  std::string output = "......";
  self.all_gather(bytes_of("orrery"), std::as_writable_bytes(std::span(output)), "step/ag");
  EXPECT_EQ(output, "orrery");
  const CommReport report =
      self.all_to_all_v(bytes_of("planets"), {.counts = {3}, .offsets = {4}}, std::as_writable_bytes(std::span(output)),
                        {.counts = {3}, .offsets = {1}}, "step/a2a");
  EXPECT_EQ(output, "oetsry");
  EXPECT_EQ(report.bytes_sent, 0);
  EXPECT_EQ(exchange_counts(self, std::vector<std::int64_t>{42}, "step/counts"), (std::vector<std::int64_t>{42}));
  EXPECT_EQ(self.broadcast(std::as_writable_bytes(std::span(output)), 0, "step/bc").last_peer, -1);
  EXPECT_EQ(self.barrier("step/barrier").last_peer, -1);
}

TEST(SelfCommunicator, HasNobodyToSendTo) {
  SelfCommunicator self;
  EXPECT_THROW(self.send(bytes_of("x"), 0, "step/send"), InternalError);
  std::string text = "x";
  EXPECT_THROW(self.receive(std::as_writable_bytes(std::span(text)), 1, "step/recv"), InternalError);
}

}  // namespace
}  // namespace orrery::executor
