// SPDX-License-Identifier: Apache-2.0
#include "executor/comm/shm_segment.h"

#include "base/errors.h"
#include "tests/unit/executor/comm/thread_ranks.h"

#include <algorithm>
#include <cstring>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

namespace orrery::executor {
namespace {

using ::testing::HasSubstr;
using testing::small_segment;

std::string error_of(const auto& call) {
  try {
    call();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

TEST(Segment, IsTheSameMemoryForWhoeverOpensItsDescriptor) {
  const auto created = Segment::create(small_segment(3));
  const auto opened = Segment::open(created->descriptor());
  EXPECT_EQ(opened->num_ranks(), 3);
  EXPECT_EQ(opened->options().chunk_bytes, 4096);
  created->set_key(2, "step/mb1");
  EXPECT_EQ(opened->key(2), "step/mb1");
  const auto written = created->region("edge", 100);
  const auto read = opened->region("edge", 100);
  EXPECT_NE(written.data(), read.data());
  std::memcpy(written.data(), "orrery", 7);
  EXPECT_STREQ(reinterpret_cast<const char*>(read.data()), "orrery");
}

TEST(Segment, RegionsOfDifferentNamesDoNotOverlapAndAreZero) {
  const auto segment = Segment::create(small_segment(1));
  for (int i = 0; i < 100; ++i) {
    const auto region = segment->region("region " + std::to_string(i), 5000);
    ASSERT_TRUE(std::ranges::all_of(region, [](std::byte value) { return value == std::byte{0}; })) << i;
    std::ranges::fill(region, std::byte{1});
  }
}

TEST(Segment, ThreadsThatAskAtTheSameTimeGetTheSameRegion) {
  const auto segment = Segment::create(small_segment(1));
  for (int round = 0; round < 50; ++round) {
    std::vector<std::byte*> places(4);
    std::vector<std::thread> threads;
    for (std::byte*& place : places)
      threads.emplace_back([&] { place = segment->region("round " + std::to_string(round), 64).data(); });
    for (std::thread& thread : threads) thread.join();
    EXPECT_THAT(places, ::testing::Each(places[0]));
  }
}

TEST(Segment, RefusesTheRegionThatDoesNotFit) {
  SegmentOptions options = small_segment(1);
  options.total_bytes = 1 << 20;
  const auto segment = Segment::create(options);
  EXPECT_THAT(
      error_of([&] { segment->region("large", 2 << 20); }),
      ::testing::MatchesRegex("the shared segment of 1048576 bytes is full: region 'large' needs 2097152 bytes, "
                              "[0-9]+ are used"));
}

TEST(Segment, RefusesARegionOfAnotherSizeUnderTheSameName) {
  const auto segment = Segment::create(small_segment(1));
  segment->region("edge", 100);
  EXPECT_THAT(error_of([&] { segment->region("edge", 200); }), HasSubstr("bytes = 200, entry.bytes = 100"));
}

TEST(Segment, RefusesADescriptorThatIsNoSegment) {
  const int empty = ::memfd_create("test", 0);
  EXPECT_EQ(error_of([&] { Segment::open(empty); }),
            "descriptor " + std::to_string(empty) + " is not a shared segment");
  ASSERT_EQ(::ftruncate(empty, 1 << 20), 0);
  EXPECT_EQ(error_of([&] { Segment::open(empty); }),
            "descriptor " + std::to_string(empty) + " is not a shared segment of this version");
  ::close(empty);
}

TEST(Segment, SaysWhenTheSystemGivesNoMemory) {
  SegmentOptions options = small_segment(1);
  options.total_bytes = std::int64_t{1} << 62;
  EXPECT_THAT(error_of([&] { Segment::create(options); }),
              HasSubstr("a shared segment of 4611686018427387904 bytes: "));
}

TEST(Segment, IsClosedByExecUnlessItIsPassedOn) {
  const auto segment = Segment::create(small_segment(1));
  EXPECT_TRUE(::fcntl(segment->descriptor(), F_GETFD) & FD_CLOEXEC);
}

TEST(Segment, KeepsTheFirstFailureOnly) {
  const auto segment = Segment::create(small_segment(2));
  EXPECT_FALSE(segment->failure().has_value());
  segment->set_key(1, "step/mb0");
  EXPECT_TRUE(segment->fail(1, "first"));
  EXPECT_FALSE(segment->fail(0, "second", 1));
  segment->set_key(1, "later");
  ASSERT_TRUE(segment->failure().has_value());
  EXPECT_EQ(segment->failure()->rank, 1);
  EXPECT_EQ(segment->failure()->key, "step/mb0");
  EXPECT_EQ(segment->failure()->text, "first");
  EXPECT_EQ(segment->failure()->missing, -1);
}

TEST(Segment, ARankIsGoneOnlyAfterItHasCome) {
  const auto segment = Segment::create(small_segment(1));
  EXPECT_FALSE(segment->gone(0));
  segment->set_running(0);
  EXPECT_FALSE(segment->gone(0));
  segment->set_finished(0);
  EXPECT_TRUE(segment->gone(0));
}

TEST(Segment, CutsAKeyThatIsTooLong) {
  const auto segment = Segment::create(small_segment(1));
  for (const std::size_t length : {0U, 1U, 7U, 8U, 9U, 190U, 191U}) {
    segment->set_key(0, std::string(length, 'x'));
    EXPECT_EQ(segment->key(0), std::string(length, 'x'));
  }
  segment->set_key(0, std::string(500, 'y'));
  EXPECT_EQ(segment->key(0), std::string(191, 'y'));
}

}  // namespace
}  // namespace orrery::executor
