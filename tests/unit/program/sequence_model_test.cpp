// SPDX-License-Identifier: Apache-2.0
#include "program/sequence_model.h"

#include "tests/unit/program/reading.h"

#include <map>
#include <numeric>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery {
namespace {

using ::testing::ElementsAre;
using testing::problems_of;

SequenceModel recorded(std::vector<std::vector<std::int64_t>> sequences) {
  return std::make_shared<const RecordedLengths>(RecordedLengths{.sequences = std::move(sequences)});
}

SequenceModel packed(std::vector<std::int64_t> lengths) {
  return std::make_shared<const PackedLengths>(PackedLengths{.documents = std::move(lengths)});
}

std::int64_t tokens_of(const Documents& of_sequence) {
  return std::accumulate(of_sequence.lengths.begin(), of_sequence.lengths.end(), of_sequence.padding);
}

constexpr AttentionMask kCausal{};

TEST(FixedLengths, AreOneDocument) {
  EXPECT_TRUE(is_fixed(SequenceModel()));
  const Documents one = documents(FixedLengths{}, 7, 4096);
  EXPECT_THAT(one.lengths, ElementsAre(4096));
  EXPECT_EQ(one.padding, 0);
}

TEST(PackedLengths, RunOnFromSequenceToSequenceAndAreCutAtTheirEnds) {
  const SequenceModel model = packed({300, 500, 100});
  EXPECT_FALSE(is_fixed(model));
  EXPECT_THAT(documents(model, 0, 400).lengths, ElementsAre(300, 100));
  EXPECT_THAT(documents(model, 1, 400).lengths, ElementsAre(400));
  EXPECT_THAT(documents(model, 2, 400).lengths, ElementsAre(100, 300));  // 800 .. 1200
  EXPECT_THAT(documents(model, 9, 400).lengths, ElementsAre(300, 100));  // 3600 is a multiple of 900
}

TEST(PackedLengths, FillASequenceWithAsManyDocumentsAsItTakes) {
  EXPECT_THAT(documents(packed({2}), 1'000'000'000'000, 5).lengths, ElementsAre(2, 2, 1));
  EXPECT_THAT(documents(packed({2}), 1'000'000'000'001, 5).lengths, ElementsAre(1, 2, 2));
}

TEST(RecordedLengths, ComeInOrderAndFromTheBeginningAgain) {
  const SequenceModel model = recorded({{100, 28}, {128}, {60}});
  EXPECT_THAT(documents(model, 0, 128).lengths, ElementsAre(100, 28));
  EXPECT_THAT(documents(model, 4, 128).lengths, ElementsAre(128));
}

TEST(RecordedLengths, ArePaddedToTheSequence) {
  const Documents padded = documents(recorded({{60, 8}}), 0, 128);
  EXPECT_THAT(padded.lengths, ElementsAre(60, 8));
  EXPECT_EQ(padded.padding, 60);
}

TEST(RecordedLengths, ThatAreTooLongAreNamed) {
  const SequenceModel model = recorded({{64}, {100, 29}, {200}});
  EXPECT_EQ(first_too_long(model, 128), 1);
  EXPECT_EQ(first_too_long(model, 200), -1);
  EXPECT_EQ(first_too_long(packed({1000}), 1), -1);
  EXPECT_EQ(problems_of([&] { return documents(model, 4, 128); }),
            "recorded lengths: sequence 1: expected at most 128 tokens, got 129");
}

TEST(HistogramLengths, FillEverySequenceExactly) {
  const SequenceModel model = HistogramLengths{.documents = {{100, 3.0}, {1000, 1.0}, {100'000, 0.1}}, .seed = 5};
  for (std::int64_t index = 0; index < 200; ++index) {
    const Documents drawn = documents(model, index, 4096);
    EXPECT_EQ(tokens_of(drawn), 4096);
    EXPECT_EQ(drawn.padding, 0);
    for (std::size_t i = 0; i + 1 < drawn.lengths.size(); ++i) {
      EXPECT_TRUE(drawn.lengths[i] == 100 || drawn.lengths[i] == 1000) << drawn.lengths[i];
    }
  }
}

TEST(HistogramLengths, DependOnSeedAndSequenceAndOnNothingElse) {
  HistogramLengths model{.documents = {{10, 1.0}, {20, 1.0}, {30, 1.0}}, .seed = 1};
  const std::vector<std::int64_t> first = documents(model, 3, 4096).lengths;
  EXPECT_EQ(documents(model, 3, 4096).lengths, first);
  EXPECT_NE(documents(model, 4, 4096).lengths, first);
  model.seed = 2;
  EXPECT_NE(documents(model, 3, 4096).lengths, first);
}

TEST(HistogramLengths, AreDrawnByTheirWeights) {
  const SequenceModel model = HistogramLengths{.documents = {{1, 1.0}, {2, 3.0}}, .seed = 1};
  std::map<std::int64_t, double> counts;
  for (std::int64_t index = 0; index < 100; ++index) {
    for (const std::int64_t tokens : documents(model, index, 10'000).lengths) counts[tokens] += 1.0;
  }
  // About 571,000 draws: the standard deviation of the share is 0.0006.
  EXPECT_NEAR(counts[2] / (counts[1] + counts[2]), 0.75, 0.003);
}

TEST(AttentionPairs, AreHalfOfTheSquareOfEachDocument) {
  EXPECT_EQ(attention_pairs({.lengths = {100}}, kCausal, 0, 100), 5000.0);
  EXPECT_EQ(attention_pairs({.lengths = {60, 40}}, kCausal, 0, 100), 1800.0 + 800.0);
  EXPECT_EQ(attention_pairs({.lengths = {60}, .padding = 40}, kCausal, 0, 100), 1800.0);
  EXPECT_EQ(attention_pairs({.lengths = {60, 40}}, {.causal = false}, 0, 100), 3600.0 + 1600.0);
}

TEST(AttentionPairs, OfSomeQueriesGoBackToTheBeginningOfTheirDocument) {
  const Documents two{.lengths = {60, 40}};
  EXPECT_EQ(attention_pairs(two, kCausal, 20, 80), (3600.0 - 400.0) / 2 + 400.0 / 2);
  EXPECT_EQ(attention_pairs(two, kCausal, 0, 50) + attention_pairs(two, kCausal, 50, 100),
            attention_pairs(two, kCausal, 0, 100));
}

TEST(AttentionPairs, AreThoseOfAWindow) {
  const AttentionMask sliding{.window = 10}, chunked{.window = 10, .chunked = true};
  // 10 x 100 - 10^2 / 2, as in work_of; a document within the window is seen whole.
  EXPECT_EQ(attention_pairs({.lengths = {100}}, sliding, 0, 100), 950.0);
  EXPECT_EQ(attention_pairs({.lengths = {8}}, sliding, 0, 8), 32.0);
  EXPECT_EQ(attention_pairs({.lengths = {100}}, chunked, 0, 100), 500.0);
  EXPECT_EQ(attention_pairs({.lengths = {25}}, chunked, 0, 25), 50.0 + 50.0 + 12.5);
  EXPECT_EQ(attention_pairs({.lengths = {25}}, {.causal = false, .window = 10, .chunked = true}, 0, 25), 225.0);
  EXPECT_EQ(attention_pairs({.lengths = {100, 4}}, {.causal = false, .window = 10}, 0, 104), 1016.0);
}

TEST(AttentionPairs, EqualACountOfEveryPair) {
  // Query i of a document sees keys max(0, i - w + 1) .. i; the continuous formula counts half of the diagonal.
  const Documents some{.lengths = {37, 5, 64, 1, 20}};
  for (const std::int64_t window : {0, 1, 7, 36, 64}) {
    double counted = 0.0, queries = 0.0;
    for (const std::int64_t tokens : some.lengths) {
      for (std::int64_t i = 0; i < tokens; ++i) {
        counted += static_cast<double>(window > 0 ? std::min(i + 1, window) : i + 1);
        // Half of the diagonal, as long as a query sees less than its window; then the whole of it.
        if (window == 0 || i < window) queries += 1.0;
      }
    }
    EXPECT_EQ(attention_pairs(some, {.window = window}, 0, 127), counted - queries / 2.0) << window;
  }
}

TEST(AttentionShare, IsOneForOneDocument) {
  for (const AttentionMask mask : {AttentionMask{}, AttentionMask{.causal = false}, AttentionMask{.window = 100},
                                   AttentionMask{.window = 100, .chunked = true}}) {
    EXPECT_EQ(attention_share({.lengths = {4096}}, mask, 4096, {}), 1.0);
  }
}

TEST(AttentionShare, HalvesWithTheLengthOfTheDocuments) {
  EXPECT_EQ(attention_share({.lengths = {2048, 2048}}, kCausal, 4096, {}), 0.5);
  EXPECT_EQ(attention_share({.lengths = {1024, 1024, 1024, 1024}}, kCausal, 4096, {}), 0.25);
  EXPECT_EQ(attention_share({.lengths = {2048}, .padding = 2048}, kCausal, 4096, {}), 0.25);
}

TEST(AttentionShare, IsExactlyEqualOnAllRanksInZigzagOrderIfTheSequenceIsOneDocument) {
  for (const std::int64_t size : {2, 3, 8, 64}) {
    for (std::int64_t rank = 0; rank < size; ++rank) {
      EXPECT_EQ(attention_share({.lengths = {384 * size}}, kCausal, 384 * size, {rank, size}), 1.0) << rank;
    }
  }
}

TEST(AttentionShare, DiffersBetweenRanksWhenDocumentsEndWithinTheSequence) {
  // Four chunks of 100: rank 0 has the first and the last, rank 1 the middle ones; the document ends after three.
  const Documents two{.lengths = {300, 100}};
  EXPECT_EQ(attention_share(two, kCausal, 400, {0, 2}), (5000.0 + 5000.0) / 40000.0);
  EXPECT_EQ(attention_share(two, kCausal, 400, {1, 2}), (45000.0 - 5000.0) / 40000.0);
}

TEST(AttentionShare, OfAllRanksAddsUpToThatOfTheSequence) {
  const SequenceModel model = HistogramLengths{.documents = {{31, 2.0}, {500, 1.0}, {3000, 0.2}}, .seed = 3};
  for (std::int64_t index = 0; index < 50; ++index) {
    const Documents drawn = documents(model, index, 4096);
    for (const AttentionMask mask : {AttentionMask{}, AttentionMask{.window = 256}}) {
      double sum = 0.0;
      for (std::int64_t rank = 0; rank < 8; ++rank) sum += attention_share(drawn, mask, 4096, {rank, 8}) / 8.0;
      EXPECT_NEAR(sum, attention_share(drawn, mask, 4096, {}), 1e-12);
    }
  }
}

TEST(ContextSlice, IsTheWholeSequenceUnderUlysses) {
  Strategy strategy;
  strategy.cp = 4;
  EXPECT_EQ(slice_of(strategy, 3, 2).rank, 3);
  EXPECT_EQ(slice_of(strategy, 3, 2).size, 4);
  EXPECT_EQ(slice_of(strategy, 3, 2).round, 2);
  strategy.cp_kind = ContextParallel::all_gather;
  EXPECT_EQ(slice_of(strategy, 3, -1).size, 4);
  EXPECT_EQ(slice_of(strategy, 3, -1).round, -1);
  strategy.cp_kind = ContextParallel::ulysses;
  EXPECT_EQ(slice_of(strategy, 3, -1).size, 1);
}

TEST(AttentionShare, IsExactlyEqualInAllRoundsOfARingIfTheSequenceIsOneDocument) {
  for (const AttentionMask mask : {AttentionMask{}, AttentionMask{.causal = false}}) {
    for (const std::int64_t size : {2, 3, 8}) {
      for (std::int64_t rank = 0; rank < size; ++rank) {
        for (std::int64_t round = 0; round < size; ++round) {
          EXPECT_EQ(attention_share({.lengths = {384 * size}}, mask, 384 * size, {rank, size, round}), 1.0);
        }
      }
    }
  }
}

TEST(AttentionShare, OfARoundIsThatOfItsKeys) {
  // Four chunks of 100 of which a document has three. Rank 1, with the middle ones, first attends within them
  // (5000 + 5000 + 10000 pairs) and then to the first chunk (20000); each round of one document has 20000.
  const Documents two{.lengths = {300, 100}};
  EXPECT_EQ(attention_share(two, kCausal, 400, {1, 2, 0}), 1.0);
  EXPECT_EQ(attention_share(two, kCausal, 400, {1, 2, 1}), 1.0);
  EXPECT_EQ(attention_share(two, kCausal, 400, {0, 2, 0}), 0.5);
  EXPECT_EQ(attention_share(two, kCausal, 400, {0, 2, 1}), 0.0);
}

TEST(AttentionShare, OfAllRoundsAddsUpToThatOfTheRank) {
  const SequenceModel model = HistogramLengths{.documents = {{31, 2.0}, {500, 1.0}, {3000, 0.2}}, .seed = 3};
  for (std::int64_t index = 0; index < 50; ++index) {
    const Documents drawn = documents(model, index, 4096);
    for (std::int64_t rank = 0; rank < 8; ++rank) {
      double sum = 0.0;
      for (std::int64_t round = 0; round < 8; ++round) sum += attention_share(drawn, kCausal, 4096, {rank, 8, round});
      EXPECT_NEAR(sum / 8.0, attention_share(drawn, kCausal, 4096, {rank, 8}), 1e-12);
    }
  }
}

TEST(FirstSequence, NumbersEverySequenceOfEveryStepOnce) {
  std::set<std::int64_t> numbers;
  for (std::int64_t step = 0; step < 3; ++step) {
    for (std::int64_t rank = 0; rank < 4; ++rank) {
      for (std::int64_t micro_batch = 0; micro_batch < 5; ++micro_batch) {
        for (std::int64_t i = 0; i < 2; ++i) numbers.insert(first_sequence(step, 40, rank, 5, 2, micro_batch) + i);
      }
    }
  }
  EXPECT_EQ(numbers.size(), 120);
  EXPECT_EQ(*numbers.begin(), 0);
  EXPECT_EQ(*numbers.rbegin(), 119);
  EXPECT_EQ(first_sequence(1, 40, 2, 5, 2, 3), 40 + 2 * 10 + 3 * 2);
}

TEST(SequenceModel, IsDescribedForPeople) {
  EXPECT_EQ(describe(FixedLengths{}), "one document each");
  EXPECT_EQ(describe(HistogramLengths{.documents = {{1, 1.0}}, .seed = 7}), "drawn from 1 lengths (seed 7)");
  EXPECT_EQ(describe(recorded({{1}, {2}})), "2 recorded sequences");
  EXPECT_EQ(describe(packed({1, 2, 3})), "packed from 3 documents");
}

}  // namespace
}  // namespace orrery
