// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/permute.h"

#include "base/errors.h"
#include "tests/unit/executor/kernels/values.h"

#include <cstring>

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

TEST(SendSlots, OrderRowsByExpertThenToken) {
  const std::vector<std::int32_t> chosen = {2, 0,  // token 0
                                            0, 3,  // token 1
                                            2, 3};
  std::vector<std::int64_t> counts(4), slots(6);
  send_slots(chosen, counts, slots);
  EXPECT_EQ(counts, (std::vector<std::int64_t>{2, 0, 2, 2}));
  EXPECT_EQ(slots, (std::vector<std::int64_t>{2, 0, 1, 4, 3, 5}));
}

TEST(ScatterRows, PutsEachTokenInAllItsSlots) {
  Values out(4, 2);
  scatter_rows(Values::of({1.0, 2.0, 3.0, 4.0}, 2), std::vector<std::int64_t>{3, 0, 1, 2}, out);
  EXPECT_EQ(out.doubles(), (Doubles{1.0, 2.0, 3.0, 4.0, 3.0, 4.0, 1.0, 2.0}));
}

TEST(CombineRows, AddsTheSlotsOfATokenInTheOrderOfItsChoice) {
  Values out(1, 1);
  combine_rows(Values::of({-1e8, 1.0, 1e8}, 3), std::vector<std::int64_t>{0, 2, 1}, out);
  EXPECT_EQ(out.doubles(), (Doubles{1.0}));
  combine_rows(Values::of({-1e8, 1.0, 1e8}, 3), std::vector<std::int64_t>{1, 0, 2}, out);
  EXPECT_EQ(out.doubles(), (Doubles{0.0}));  // 1 is lost in 1e8
}

TEST(CombineRows, RoundsOnceToBf16) {
  Values out(1, 1, DType::bf16);
  combine_rows(Values::of({1.0, 1.0 / 256, 1.0 / 256}, 3, DType::bf16), std::vector<std::int64_t>{0, 1, 2}, out);
  EXPECT_EQ(out.doubles(), (Doubles{1.0 + 1.0 / 128}));
}

// Both are linear, and one is the transpose of the other: <scatter(x), y> = <x, combine(y)>.
TEST(ScatterAndCombine, AreEachOthersBackward) {
  const std::vector<std::int64_t> slots = {4, 1, 0, 5, 2, 3};
  const Values x = Values::random(3, 8, "x");
  const Values y = Values::random(6, 8, "y");
  Values scattered(6, 8), combined(3, 8);
  scatter_rows(x, slots, scattered);
  combine_rows(y, slots, combined);
  EXPECT_NEAR(dot(scattered.doubles(), y.doubles()), dot(x.doubles(), combined.doubles()), 1e-5);
}

TEST(ScatterValues, IsUndoneByGatherValues) {
  const std::vector<std::int64_t> slots = {2, 0, 1};
  std::vector<float> scattered(3), back(3);
  scatter_values(std::vector<float>{7.0F, 8.0F, 9.0F}, slots, scattered);
  EXPECT_EQ(scattered, (std::vector<float>{8.0F, 9.0F, 7.0F}));
  gather_values(scattered, slots, back);
  EXPECT_EQ(back, (std::vector<float>{7.0F, 8.0F, 9.0F}));
}

// Two source ranks, three local experts; a value is source, expert, position as three digits.
const std::vector<std::int64_t> kCounts = {2, 0, 1,  // from rank 0
                                           1, 2, 1};
const Doubles kReceived = {0, 1, 20, 100, 110, 111, 120};
const Doubles kSorted = {0, 1, 100, 110, 111, 20, 120};

TEST(SortByExpert, OrdersByExpertThenSourceThenPosition) {
  Values sorted(7, 1);
  sort_by_expert(kCounts, 3, Values::of(kReceived, 7), sorted);
  EXPECT_EQ(sorted.doubles(), kSorted);
}

TEST(SortByExpert, IsUndoneByUnsort) {
  Values received(7, 1, DType::bf16);
  unsort_by_expert(kCounts, 3, Values::of(kSorted, 7, DType::bf16), received);
  EXPECT_EQ(received.doubles(), kReceived);
}

TEST(SortByExpert, RefusesCountsOfOtherRows) {
  Values sorted(6, 1);
  EXPECT_THROW(sort_by_expert(kCounts, 3, Values(6, 1), sorted), InternalError);
}

TEST(ExpertOffsets, AreTheRowsOfEachExpertFromAllSources) {
  std::vector<std::int64_t> offsets(4);
  expert_offsets(kCounts, 3, offsets);
  EXPECT_EQ(offsets, (std::vector<std::int64_t>{0, 3, 5, 7}));
}

// What makes expert parallelism exact: an expert sees the same matrix when its tokens come from one rank or from two.
TEST(Permutation, GivesAnExpertTheSameRowsForAnyNumberOfRanks) {
  constexpr std::int64_t kTokens = 10, kTopK = 2, kExperts = 4;
  const Values x = Values::random(kTokens, 3, "x");
  std::vector<std::int32_t> chosen;
  for (std::int32_t token = 0; token < kTokens; ++token) {
    chosen.push_back(token * 7 % 3);
    chosen.push_back(3);
  }
  std::vector<std::int64_t> counts(kExperts), slots(chosen.size());
  send_slots(chosen, counts, slots);
  Values alone(kTokens * kTopK, 3);
  scatter_rows(x, slots, alone);

  // The second of two ranks holds experts 2 and 3 and receives, from each rank, the end of its send buffer.
  Values received(counts[2] + counts[3], 3), sorted(counts[2] + counts[3], 3);
  std::vector<std::int64_t> received_counts;
  std::int64_t row = 0;
  for (std::int64_t rank = 0; rank < 2; ++rank) {
    const std::int64_t half = kTokens / 2;
    const auto choices = static_cast<std::size_t>(half * kTopK);
    std::vector<std::int64_t> half_counts(kExperts), half_slots(choices);
    send_slots(std::span(chosen).subspan(static_cast<std::size_t>(rank) * choices, choices), half_counts, half_slots);
    Values sent(half * kTopK, 3);
    scatter_rows(x.view().row_block(rank * half, half), half_slots, sent);
    const std::int64_t begin = half_counts[0] + half_counts[1];
    const std::int64_t count = half_counts[2] + half_counts[3];
    convert(sent.view().row_block(begin, count), received.view().row_block(row, count));
    received_counts.insert(received_counts.end(), {half_counts[2], half_counts[3]});
    row += count;
  }
  sort_by_expert(received_counts, 2, received, sorted);
  EXPECT_EQ(std::memcmp(sorted.bytes().data(), alone.view().at(counts[0] + counts[1], 0), sorted.bytes().size()), 0);
}

TEST(Permute, ACapacityKeepsTheMostProbablePairsInTheOrderOfTheTokens) {
  const std::vector<std::int32_t> chosen = {0, 0, 1, 0};  // four tokens, one choice each
  const std::vector<float> probability = {0.2F, 0.9F, 0.1F, 0.9F};
  const std::vector<std::uint8_t> kept = kept_pairs(chosen, probability, 2, 2);
  EXPECT_EQ(kept, (std::vector<std::uint8_t>{0, 1, 1, 1}));
  std::vector<std::int64_t> slots(4);
  capacity_slots(chosen, kept, 2, slots);
  EXPECT_EQ(slots, (std::vector<std::int64_t>{-1, 0, 2, 1}));
}

TEST(Permute, DroppedPairsLeaveZerosAndAddNothing) {
  const std::vector<std::int64_t> slots = {-1, 2};
  Values rows = Values::random(4, 1, "old"), back(2, 1);
  scatter_rows(Values::of({3.0, 4.0}, 2), slots, rows);
  EXPECT_EQ(rows.doubles(), (Doubles{0.0, 0.0, 4.0, 0.0}));
  combine_rows(rows, slots, back);
  EXPECT_EQ(back.doubles(), (Doubles{0.0, 4.0}));
  std::vector<float> there(4, 1.0F), here(2, 1.0F);
  scatter_values(std::vector<float>{5.0F, 6.0F}, slots, there);
  EXPECT_EQ(there, (std::vector<float>{0.0F, 0.0F, 6.0F, 0.0F}));
  gather_values(there, slots, here);
  EXPECT_EQ(here, (std::vector<float>{0.0F, 6.0F}));
}

}  // namespace
}  // namespace orrery::executor
