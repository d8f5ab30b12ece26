// SPDX-License-Identifier: Apache-2.0
#include "executor/comm/uneven.h"

#include "tests/unit/executor/comm/thread_ranks.h"

#include <atomic>
#include <numeric>

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using testing::run_ranks;
using testing::small_segment;

Blocks blocks_of(std::vector<std::int64_t> values) {
  for (std::int64_t& count : values) count *= static_cast<std::int64_t>(sizeof(float));
  return Blocks::contiguous(std::move(values));
}

TEST(Uneven, AGatherBringsPartsOfAnySizeToEveryRank) {
  std::atomic<std::int64_t> sent = 0;
  run_ranks(small_segment(3), [&](ShmEndpoint& endpoint) {
    const auto group = endpoint.world();
    const std::vector<std::int64_t> sizes = {2, 0, 1500};  // none, and more than a chunk
    std::vector<float> own(static_cast<std::size_t>(sizes[static_cast<std::size_t>(group->rank())]));
    std::iota(own.begin(), own.end(), 10000.0F * static_cast<float>(group->rank()));
    std::vector<float> all(1502);
    sent += all_gather_v(*group, std::as_bytes(std::span(own)), std::as_writable_bytes(std::span(all)),
                         blocks_of(sizes), "gather")
                .bytes_sent;
    EXPECT_EQ(all[1], 1.0F);
    EXPECT_EQ(all[2], 20000.0F);
    EXPECT_EQ(all.back(), 21499.0F);
  });
  EXPECT_EQ(sent, 2 * 1502 * 4);  // as an even gather of as much
}

TEST(Uneven, AScatterLeavesEachRankTheSumOfItsPart) {
  std::atomic<std::int64_t> sent = 0;
  run_ranks(small_segment(3), [&](ShmEndpoint& endpoint) {
    const auto group = endpoint.world();
    const std::vector<std::int64_t> sizes = {1, 0, 2};
    const std::vector<float> terms = {1.0F, 2.0F, static_cast<float>(group->rank())};
    std::vector<float> own(static_cast<std::size_t>(sizes[static_cast<std::size_t>(group->rank())]));
    sent += reduce_scatter_v(*group, SumType::f32, std::as_bytes(std::span(terms)), blocks_of(sizes),
                             std::as_writable_bytes(std::span(own)), "scatter")
                .bytes_sent;
    const std::vector<std::vector<float>> want = {{3.0F}, {}, {6.0F, 3.0F}};
    EXPECT_EQ(own, want[static_cast<std::size_t>(group->rank())]);
  });
  EXPECT_EQ(sent, 2 * 3 * 4);
}

}  // namespace
}  // namespace orrery::executor
