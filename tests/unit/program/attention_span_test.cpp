// SPDX-License-Identifier: Apache-2.0
#include "program/attention_span.h"

#include "base/errors.h"

#include <gtest/gtest.h>

namespace orrery {
namespace {

/// Pairs counted one by one.
std::int64_t counted(const AttentionSpan& span, std::int64_t seq) {
  std::int64_t pairs = 0;
  for (std::int64_t query = 0; query < seq; ++query) {
    for (std::int64_t key = 0; key <= query; ++key) {
      if (span.is_full()) {
        ++pairs;
      } else if (span.chunked) {
        pairs += query / span.window == key / span.window ? 1 : 0;
      } else {
        pairs += query - key < span.window ? 1 : 0;
      }
    }
  }
  return pairs;
}

TEST(VisiblePairs, EqualACountOfTheMask) {
  for (const bool chunked : {false, true}) {
    for (std::int64_t window = 0; window <= 9; ++window) {
      for (std::int64_t seq = 0; seq <= 20; ++seq) {
        const AttentionSpan span{.window = window, .chunked = chunked};
        EXPECT_EQ(visible_pairs(span, seq), counted(span, seq)) << window << " " << chunked << " " << seq;
      }
    }
  }
}

TEST(VisiblePairs, OfAWindowThatIsNeverFilledAreThoseOfAFullSpan) {
  EXPECT_EQ(visible_pairs({.window = 4096}, 4096), visible_pairs({}, 4096));
  EXPECT_EQ(visible_pairs({.window = 8192, .chunked = true}, 4096), visible_pairs({}, 4096));
}

TEST(VisiblePairs, GrowLinearlyBehindAWindow) {
  const std::int64_t more = visible_pairs({.window = 128}, 8192) - visible_pairs({.window = 128}, 8191);
  EXPECT_EQ(more, 128);
}

TEST(VisiblePairs, NeedAWindowThatIsNotNegative) {
  EXPECT_THROW(visible_pairs({.window = -1}, 4), InternalError);
  EXPECT_THROW(visible_pairs({}, -1), InternalError);
}

}  // namespace
}  // namespace orrery
