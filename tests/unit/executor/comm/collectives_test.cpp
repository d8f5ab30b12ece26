// SPDX-License-Identifier: Apache-2.0
#include "base/errors.h"
#include "executor/comm/endpoint.h"
#include "tests/unit/executor/comm/every_backend.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <random>
#include <tuple>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using testing::Backend;
using ::testing::HasSubstr;
using testing::small_segment;

/// The value that rank `rank` holds at `index`; sums of them depend on the order of additions.
template <class T>
T value_of(int rank, std::int64_t index) {
  return static_cast<T>(static_cast<double>((index * 7919 + std::int64_t{rank} * 104729) % 2003 - 1001) * 1.37);
}

template <class T>
std::vector<T> values_of(int rank, std::int64_t count) {
  std::vector<T> values(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) values[static_cast<std::size_t>(i)] = value_of<T>(rank, i);
  return values;
}

/// What a sum in the order of the ranks must give, bit for bit.
template <class T>
std::vector<T> sums_of(int num_ranks, std::int64_t count) {
  std::vector<T> sums = values_of<T>(0, count);
  for (int rank = 1; rank < num_ranks; ++rank) {
    for (std::int64_t i = 0; i < count; ++i) sums[static_cast<std::size_t>(i)] += value_of<T>(rank, i);
  }
  return sums;
}

template <class T>
auto bytes_of(std::vector<T>& values) {
  return std::as_writable_bytes(std::span<T>(values));
}

class Collectives : public ::testing::TestWithParam<std::tuple<Backend, int>> {
 protected:
  static int num_ranks() { return std::get<int>(GetParam()); }
  /// On small segments.
  static void run_ranks(const std::function<void(Endpoint&)>& body) {
    testing::run_over(std::get<Backend>(GetParam()), small_segment(num_ranks()), body);
  }
};
INSTANTIATE_TEST_SUITE_P(Ranks, Collectives,
                         ::testing::Combine(::testing::ValuesIn(testing::backends()),
                                            ::testing::ValuesIn(testing::numbers_of_ranks())),
                         [](const auto& ranks) {
                           return name_of(std::get<0>(ranks.param)) + "_" + std::to_string(std::get<1>(ranks.param));
                         });

// Nothing, one value, fewer values than ranks, odd numbers, one chunk of 4096 bytes and about it, many chunks.
const std::vector<std::int64_t> kCounts = {0, 1, 3, 17, 255, 1024, 1025, 4099, 20011};

template <class T>
void expect_all_reduce(Communicator& world, std::int64_t count) {
  std::vector<T> values = values_of<T>(world.rank(), count);
  const CommReport report = world.all_reduce(std::span<T>(values), "step/sum");
  EXPECT_TRUE(values == sums_of<T>(world.size(), count)) << "rank " << world.rank() << ", " << count << " values";
  const std::int64_t n = world.size();
  if (count % n == 0) {
    EXPECT_EQ(report.bytes_sent * n, 2 * (n - 1) * count * static_cast<std::int64_t>(sizeof(T)));
  }
}

TEST_P(Collectives, AllReduceSumsInTheOrderOfTheRanksForEveryTypeAndLength) {
  run_ranks([](Endpoint& endpoint) {
    const auto world = endpoint.world();
    for (const std::int64_t count : kCounts) {
      expect_all_reduce<float>(*world, count);
      expect_all_reduce<double>(*world, count);
      expect_all_reduce<std::int64_t>(*world, count);
      expect_all_reduce<Int128>(*world, count);
    }
  });
}

TEST_P(Collectives, SumsOfBf16AreTakenInF32AndRoundedOnce) {
  run_ranks([](Endpoint& endpoint) {
    const auto world = endpoint.world();
    const auto n = static_cast<std::size_t>(world->size());
    for (const std::int64_t count : {std::int64_t{1}, std::int64_t{17}, std::int64_t{4099}}) {
      const auto size = static_cast<std::size_t>(count);
      std::vector<bf16> values(size), all(size * n), own(size);
      std::vector<float> sums(size), all_sums(size * n);
      for (int rank = 0; rank < world->size(); ++rank) {
        for (std::int64_t i = 0; i < count; ++i) {
          const auto at = static_cast<std::size_t>(i);
          const bf16 term(value_of<float>(rank, i));
          sums[at] += static_cast<float>(term);
          if (rank == world->rank()) values[at] = term;
        }
      }
      for (std::size_t i = 0; i < all.size(); ++i) all[i] = values[i % size];
      world->reduce_scatter(std::span<const bf16>(all), std::span<bf16>(own), "step/rs");
      world->all_reduce(std::span<bf16>(values), "step/ar");
      for (std::size_t i = 0; i < size; ++i) {
        ASSERT_EQ(static_cast<float>(values[i]), static_cast<float>(bf16(sums[i]))) << count << ": " << i;
        ASSERT_EQ(static_cast<float>(own[i]), static_cast<float>(bf16(sums[i]))) << count << ": " << i;
      }
    }
  });
}

TEST_P(Collectives, TheLargestIsThatOfAnyRank) {
  run_ranks([](Endpoint& endpoint) {
    const auto world = endpoint.world();
    std::vector<float> values = values_of<float>(world->rank(), 4099);
    std::vector<float> largest = values_of<float>(0, 4099);
    for (int rank = 1; rank < world->size(); ++rank) {
      for (std::int64_t i = 0; i < 4099; ++i) {
        float& value = largest[static_cast<std::size_t>(i)];
        value = std::max(value, value_of<float>(rank, i));
      }
    }
    world->all_reduce_largest(values, "step/largest");
    EXPECT_EQ(values, largest);
  });
}

TEST_P(Collectives, AllReduceOfUnevenPartsSendsTwiceEveryValueOverAllRanks) {
  run_ranks([](Endpoint& endpoint) {
    const auto world = endpoint.world();
    std::vector<float> values(1009);
    std::int64_t sent = world->all_reduce(std::span<float>(values), "step/sum").bytes_sent;
    world->all_reduce(std::span<std::int64_t>(&sent, 1), "step/sent");
    EXPECT_EQ(sent, 2 * (world->size() - 1) * 1009 * 4);
  });
}

TEST_P(Collectives, AllReduceCarriesFromTheLowHalfOf128BitIntegersToTheHighHalf) {
  run_ranks([](Endpoint& endpoint) {
    const auto world = endpoint.world();
    const Int128 large = (Int128{1} << 64) - 1;
    std::vector<Int128> values = {large, -large};
    world->all_reduce(std::span<Int128>(values), "step/norm");
    EXPECT_TRUE(values[0] == large * world->size());
    EXPECT_TRUE(values[1] == -large * world->size());
  });
}

TEST_P(Collectives, ReduceScatterGivesEachRankItsBlockOfTheSum) {
  run_ranks([](Endpoint& endpoint) {
    const auto world = endpoint.world();
    for (const std::int64_t count : kCounts) {
      const std::vector<float> input = values_of<float>(world->rank(), count * world->size());
      std::vector<float> output(static_cast<std::size_t>(count));
      const CommReport report = world->reduce_scatter(std::span(input), std::span<float>(output), "step/rs");
      const std::vector<float> sums = sums_of<float>(world->size(), count * world->size());
      EXPECT_TRUE(std::equal(output.begin(), output.end(), sums.begin() + world->rank() * count)) << count;
      EXPECT_EQ(report.bytes_sent, (world->size() - 1) * count * 4);
    }
  });
}

TEST_P(Collectives, AllGatherPutsTheBlocksInTheOrderOfTheRanks) {
  run_ranks([](Endpoint& endpoint) {
    const auto world = endpoint.world();
    for (const std::int64_t count : kCounts) {
      std::vector<double> input = values_of<double>(world->rank(), count);
      std::vector<double> output(static_cast<std::size_t>(count * world->size()));
      const CommReport report = world->all_gather(bytes_of(input), bytes_of(output), "step/ag");
      std::vector<double> expected;
      for (int rank = 0; rank < world->size(); ++rank) {
        const std::vector<double> block = values_of<double>(rank, count);
        expected.insert(expected.end(), block.begin(), block.end());
      }
      EXPECT_EQ(output, expected);
      EXPECT_EQ(report.bytes_sent, (world->size() - 1) * count * 8);
    }
  });
}

TEST_P(Collectives, AllGatherWorksInPlace) {
  run_ranks([](Endpoint& endpoint) {
    const auto world = endpoint.world();
    const auto block = std::size_t{10'001};
    std::vector<std::byte> output(block * static_cast<std::size_t>(world->size()));
    const auto own = std::span(output).subspan(block * static_cast<std::size_t>(world->rank()), block);
    std::ranges::fill(own, static_cast<std::byte>(world->rank() + 1));
    world->all_gather(own, output, "step/ag");
    for (std::size_t i = 0; i < output.size(); ++i) ASSERT_EQ(static_cast<std::size_t>(output[i]), i / 10'001 + 1);
  });
}

TEST_P(Collectives, BroadcastCopiesTheRootFromAnyRank) {
  run_ranks([](Endpoint& endpoint) {
    const auto world = endpoint.world();
    for (const std::int64_t count : kCounts) {
      for (int root = 0; root < world->size(); ++root) {
        std::vector<float> values = values_of<float>(world->rank(), count);
        const CommReport report = world->broadcast(bytes_of(values), root, "step/bc");
        EXPECT_EQ(values, values_of<float>(root, count));
        EXPECT_EQ(report.bytes_sent, world->rank() == root ? (world->size() - 1) * count * 4 : 0);
      }
    }
  });
}

/// How many bytes `from` sends to `to` in a round of a random all-to-all that every rank can compute.
std::int64_t random_count(int round, int from, int to) {
  std::mt19937 random(static_cast<unsigned>((round * 64 + from) * 64 + to));
  const std::int64_t longest = std::vector<std::int64_t>{0, 1, 100, 30'000}[random() % 4];
  return static_cast<std::int64_t>(random() % static_cast<unsigned>(longest + 1));
}

TEST_P(Collectives, AllToAllMovesBlocksOfRandomLengthsToTheirReceivers) {
  run_ranks([](Endpoint& endpoint) {
    const auto world = endpoint.world();
    for (int round = 0; round < 20; ++round) {
      std::vector<std::int64_t> counts;
      std::vector<std::byte> input;
      std::int64_t expected_sent = 0;
      for (int to = 0; to < world->size(); ++to) {
        counts.push_back(random_count(round, world->rank(), to));
        if (to != world->rank()) expected_sent += counts.back();
        input.resize(input.size() + static_cast<std::size_t>(counts.back()),
                     static_cast<std::byte>(world->rank() * 16 + to));
      }
      const Blocks sends = Blocks::contiguous(counts);
      const Blocks receives = Blocks::contiguous(exchange_counts(*world, counts, "step/counts"));
      std::vector<std::byte> output(static_cast<std::size_t>(receives.offsets.back() + receives.counts.back()));
      const CommReport report = world->all_to_all_v(input, sends, output, receives, "step/a2a");
      EXPECT_EQ(report.bytes_sent, expected_sent);
      std::vector<std::byte> expected;
      for (int from = 0; from < world->size(); ++from) {
        EXPECT_EQ(receives.counts[static_cast<std::size_t>(from)], random_count(round, from, world->rank()));
        expected.resize(expected.size() + static_cast<std::size_t>(random_count(round, from, world->rank())),
                        static_cast<std::byte>(from * 16 + world->rank()));
      }
      EXPECT_EQ(output, expected);
    }
  });
}

class Group : public testing::OfEveryBackend {};
ORRERY_INSTANTIATE_BACKENDS(Group);

TEST_P(Group, AllToAllReadsAndWritesBlocksInAnyPlace) {
  run_ranks(small_segment(2), [](Endpoint& endpoint) {
    const auto world = endpoint.world();
    const char own = world->rank() == 0 ? 'a' : 'A';
    std::vector<char> input = {own, static_cast<char>(own + 1), static_cast<char>(own + 2)};
    std::vector<char> output(5, '.');
    // The block for rank 1 stands before the block for rank 0, and what comes from rank 1 before what comes from rank
    // 0.
    const Blocks sends = {.counts = {1, 2}, .offsets = {2, 0}};
    const std::int64_t each = world->rank() == 0 ? 1 : 2;
    const Blocks receives = {.counts = {each, each}, .offsets = {3, 0}};
    world->all_to_all_v(bytes_of(input), sends, bytes_of(output), receives, "step/a2a");
    EXPECT_EQ(std::string(output.begin(), output.end()), world->rank() == 0 ? "C..c." : "AB.ab");
  });
}

TEST_P(Group, BarrierLetsNobodyGoBeforeAllHaveCome) {
  run_ranks(small_segment(4), [](Endpoint& endpoint) {
    const auto world = endpoint.world();
    for (int round = 1; round <= 200; ++round) {
      const Instant::rep entered = now().time_since_epoch().count();
      EXPECT_EQ(world->barrier("step/barrier").bytes_sent, 0);
      const Instant::rep left = now().time_since_epoch().count();
      std::array<Instant::rep, 4> all{};
      world->all_gather(std::as_bytes(std::span(&entered, 1)), std::as_writable_bytes(std::span(all)), "step/entered");
      EXPECT_GE(left, std::ranges::max(all));
    }
  });
}

TEST_P(Group, ReportsThePeerThatCameLast) {
  run_ranks(small_segment(3), [&](Endpoint& endpoint) {
    const auto world = endpoint.world();
    world->barrier("step/start");
    const Instant before = now();
    if (world->rank() == 1) std::this_thread::sleep_for(std::chrono::milliseconds(100));
    const Instant start = now();
    const CommReport report = world->barrier("step/late");
    if (world->rank() == 1) {
      EXPECT_NE(report.last_peer, 1);
      EXPECT_LT(report.last_arrival, start);
    } else {
      EXPECT_EQ(report.last_peer, 1);
      EXPECT_GE(report.last_arrival - before, std::chrono::milliseconds(90));
      EXPECT_LE(report.last_arrival, now());
    }
  });
}

TEST_P(Group, AllRanksReadTheSameLastArrival) {
  run_ranks(small_segment(3), [&](Endpoint& endpoint) {
    const auto world = endpoint.world();
    for (int round = 0; round < 50; ++round) {
      const CommReport report = world->barrier("step/start");
      const std::int64_t last = std::max(report.own_arrival, report.last_arrival).time_since_epoch().count();
      std::array<std::int64_t, 3> all{};
      world->all_gather(std::as_bytes(std::span(&last, 1)), std::as_writable_bytes(std::span(all)), "step/last");
      EXPECT_EQ(all, (std::array<std::int64_t, 3>{last, last, last}));
    }
  });
}

TEST_P(Group, GroupsOfSomeRanksWorkAtTheSameTimeWithoutDisturbingEachOther) {
  // Four ranks as a 2 x 2 mesh: each is in a row, in a column and in the world, and rows take different numbers of
  // steps.
  run_ranks(small_segment(4), [](Endpoint& endpoint) {
    const int row = endpoint.rank() / 2;
    const int column = endpoint.rank() % 2;
    const auto row_group = endpoint.group("ep" + std::to_string(row), std::vector{row * 2, row * 2 + 1});
    const auto column_group = endpoint.group("dp" + std::to_string(column), std::vector{column + 2, column});
    const auto world = endpoint.world();
    EXPECT_EQ(row_group->rank(), column);
    EXPECT_EQ(column_group->rank(), 1 - row) << "members are numbered in the order of the list";
    for (int round = 0; round < 50; ++round) {
      for (int extra = 0; extra <= row * 3; ++extra) {
        std::vector<std::int64_t> sum(2000, endpoint.rank());
        row_group->all_reduce(std::span<std::int64_t>(sum), "step/row");
        ASSERT_EQ(sum[1999], row * 4 + 1);
      }
      std::vector<std::int64_t> sum(10, endpoint.rank());
      column_group->all_reduce(std::span<std::int64_t>(sum), "step/column");
      ASSERT_EQ(sum[9], column * 2 + 2);
      world->all_reduce(std::span<std::int64_t>(sum), "step/world");
      ASSERT_EQ(sum[9], 12);
    }
  });
}

TEST_P(Group, RanksThatDisagreeOnACollectiveBreakACheck) {
  const auto errors = errors_of_ranks(small_segment(2), [](Endpoint& endpoint) {
    const auto world = endpoint.world();
    std::vector<float> values(static_cast<std::size_t>(endpoint.rank() + 1));
    world->broadcast(bytes_of(values), 0, "step/bc");
  });
  // Of two ranks without common memory the first to see it leaves, and may take its word to the other with it.
  const auto disagreement = HasSubstr("post.kind == mine.kind && post.bytes == mine.bytes");
  const auto gone = HasSubstr("is gone");
  EXPECT_THAT(errors, ::testing::Contains(disagreement));
  if (GetParam() == Backend::tcp) {
    EXPECT_THAT(errors, ::testing::Each(::testing::AnyOf(disagreement, gone)));
  } else {
    EXPECT_THAT(errors, ::testing::Each(disagreement));
  }
  for (std::size_t rank = 0; rank < 2; ++rank) {
    if (errors[rank].find("post.kind") == std::string::npos) continue;
    EXPECT_THAT(errors[rank], HasSubstr("mine.bytes = " + std::to_string(4 * (rank + 1))));
    EXPECT_THAT(errors[rank], HasSubstr("post.bytes = " + std::to_string(4 * (2 - rank))));
  }
}

TEST_P(Group, AReceiverThatExpectsAnotherLengthThanTheSenderBreaksACheck) {
  SegmentOptions options = small_segment(2);
  options.time_out = std::chrono::milliseconds(100);
  const auto errors = errors_of_ranks(options, [](Endpoint& endpoint) {
    const std::int64_t expected = endpoint.rank() == 0 ? 8 : 9;
    std::vector<std::byte> input(16);
    std::vector<std::byte> output(32);
    endpoint.world()->all_to_all_v(input, Blocks::contiguous({8, 8}), output, Blocks::contiguous({expected, 8}), "a2a");
  });
  EXPECT_EQ(errors[0], "");
  EXPECT_THAT(errors[1], HasSubstr("place.key = a2a, place.rank = 1, peer = 0, sent = 8, expected = 9"));
}

TEST_P(Group, BlocksOutsideTheBufferBreakACheck) {
  const auto errors = errors_of_ranks(small_segment(2), [](Endpoint& endpoint) {
    std::vector<std::byte> input(15);
    std::vector<std::byte> output(16);
    endpoint.world()->all_to_all_v(input, Blocks::contiguous({8, 8}), output, Blocks::contiguous({8, 8}), "a2a");
  });
  EXPECT_THAT(errors, ::testing::Each(HasSubstr("blocks.offsets[i] = 8, blocks.counts[i] = 8, buffer_bytes = 15")));
}

TEST_P(Group, AnIdServesOneGroupOnly) {
  const auto errors = errors_of_ranks(small_segment(2), [](Endpoint& endpoint) {
    const auto first = endpoint.world();
    const auto second = endpoint.world();
  });
  EXPECT_THAT(errors, ::testing::Each(HasSubstr("ids_.emplace(id).second (id = world")));
}

}  // namespace
}  // namespace orrery::executor
