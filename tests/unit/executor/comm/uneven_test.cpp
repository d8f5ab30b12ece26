// SPDX-License-Identifier: Apache-2.0
#include "executor/comm/communicator.h"
#include "tests/unit/executor/comm/every_backend.h"

#include <numeric>

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using testing::small_segment;

Blocks blocks_of(std::vector<std::int64_t> values) { return Blocks::contiguous(std::move(values), sizeof(float)); }

std::int64_t sum_of(Communicator& group, std::int64_t value) {
  group.all_reduce(std::span<std::int64_t>(&value, 1), "sum");
  return value;
}

class Uneven : public testing::OfEveryBackend {};
ORRERY_INSTANTIATE_BACKENDS(Uneven);

TEST_P(Uneven, AGatherBringsPartsOfAnySizeToEveryRank) {
  run_ranks(small_segment(3), [&](Endpoint& endpoint) {
    const auto group = endpoint.world();
    const std::vector<std::int64_t> sizes = {2, 0, 1500};  // none, and more than a chunk
    std::vector<float> own(static_cast<std::size_t>(sizes[static_cast<std::size_t>(group->rank())]));
    std::iota(own.begin(), own.end(), 10000.0F * static_cast<float>(group->rank()));
    std::vector<float> all(1502);
    const CommReport report = group->all_gather_v(std::as_bytes(std::span(own)), std::as_writable_bytes(std::span(all)),
                                                  blocks_of(sizes), "gather");
    EXPECT_EQ(all[1], 1.0F);
    EXPECT_EQ(all[2], 20000.0F);
    EXPECT_EQ(all.back(), 21499.0F);
    EXPECT_EQ(sum_of(*group, report.bytes_sent), 2 * 1502 * 4);  // as an even gather of as much
  });
}

TEST_P(Uneven, AScatterLeavesEachRankTheSumOfItsPart) {
  run_ranks(small_segment(3), [&](Endpoint& endpoint) {
    const auto group = endpoint.world();
    const std::vector<std::int64_t> sizes = {1, 0, 2};
    const std::vector<float> terms = {1.0F, 2.0F, static_cast<float>(group->rank())};
    std::vector<float> own(static_cast<std::size_t>(sizes[static_cast<std::size_t>(group->rank())]));
    const CommReport report = group->reduce_scatter_v(SumType::f32, std::as_bytes(std::span(terms)), blocks_of(sizes),
                                                      std::as_writable_bytes(std::span(own)), "scatter");
    const std::vector<std::vector<float>> want = {{3.0F}, {}, {6.0F, 3.0F}};
    EXPECT_EQ(own, want[static_cast<std::size_t>(group->rank())]);
    EXPECT_EQ(sum_of(*group, report.bytes_sent), 2 * 3 * 4);
  });
}

TEST(Blocks, AreEvenWhereTheyAreOfOneSizeAndInOrder) {
  EXPECT_TRUE(Blocks::even(3, 8).are_even());
  EXPECT_TRUE(blocks_of({5, 5}).are_even());
  EXPECT_FALSE(blocks_of({5, 4}).are_even());
  EXPECT_FALSE((Blocks{{8, 8}, {8, 0}}).are_even());
  EXPECT_FALSE((Blocks{{8, 8}, {0, 16}}).are_even());
}

// Blocks the other way round are no even ones: the two ways must not be told apart, to the bit.
TEST_P(Uneven, EvenPartsGiveTheBitsAndBytesOfUnevenOnes) {
  constexpr std::int64_t kPart = 1000, kBytes = kPart * static_cast<std::int64_t>(sizeof(float));
  run_ranks(small_segment(3), [&](Endpoint& endpoint) {
    const auto group = endpoint.world();
    const Blocks even = Blocks::even(3, kBytes), turned = {even.counts, {2 * kBytes, kBytes, 0}};
    const auto me = static_cast<std::size_t>(group->rank());
    std::vector<float> terms(3 * kPart), turned_terms;
    for (std::size_t i = 0; i < terms.size(); ++i) {
      terms[i] = 1.0F / static_cast<float>(1 + i + 7777 * me);  // sums depend on the order
    }
    for (std::int64_t block = 2; block >= 0; --block) {
      turned_terms.insert(turned_terms.end(), terms.begin() + block * kPart, terms.begin() + (block + 1) * kPart);
    }
    const auto scatter = [&](const std::vector<float>& input, const Blocks& blocks) {
      std::vector<float> own(kPart);
      const CommReport report = group->reduce_scatter_v(SumType::f32, std::as_bytes(std::span(input)), blocks,
                                                        std::as_writable_bytes(std::span(own)), "scatter");
      EXPECT_EQ(report.bytes_sent, 2 * kBytes);
      return own;
    };
    const std::vector<float> own = scatter(terms, even);
    EXPECT_EQ(own, scatter(turned_terms, turned));
    const auto gather = [&](const Blocks& blocks) {
      std::vector<float> all(3 * kPart);
      const CommReport report =
          group->all_gather_v(std::as_bytes(std::span(own)), std::as_writable_bytes(std::span(all)), blocks, "gather");
      EXPECT_EQ(report.bytes_sent, 2 * kBytes);
      return all;
    };
    const std::vector<float> all = gather(even), turned_all = gather(turned);
    for (std::int64_t block = 0; block < 3; ++block) {
      EXPECT_TRUE(std::equal(all.begin() + block * kPart, all.begin() + (block + 1) * kPart,
                             turned_all.begin() + (2 - block) * kPart));
    }
  });
}

}  // namespace
}  // namespace orrery::executor
