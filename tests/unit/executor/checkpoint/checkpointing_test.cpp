// SPDX-License-Identifier: Apache-2.0
// A disk that is slower than a rank's patience. Peers give up on a rank that does not come within a time-out, and the
// launcher on one that says nothing new for 1.1 of them; both must see that a rank that waits for a disk is well.
#include "executor/runtime/checkpointing.h"

#include "executor/checkpoint/checkpoint.h"
#include "tests/unit/executor/checkpoint/broken_files.h"
#include "tests/unit/executor/runtime/thread_ranks.h"

#include <atomic>
#include <set>
#include <string>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using testing::error_of;
using testing::TestFolder;
using Stage = Checkpointing::Stage;

constexpr auto kTimeOut = std::chrono::seconds(1);

/// Trains one step on `num_ranks` ranks and saves; `hold` is what the thread of a rank does before it writes. Returns
/// the longest time for which a rank has said nothing new.
std::chrono::nanoseconds train_and_save(std::int64_t num_ranks, const std::filesystem::path& folder,
                                        const std::function<void(int rank, Stage)>& hold) {
  const Model model = testing::small_model();
  const StepProgram program = lower(model, testing::strategy_of(model, 1, num_ranks), testing::kBatch, num_ranks);
  const auto segment = Segment::create({.num_ranks = static_cast<int>(num_ranks), .time_out = kTimeOut});
  std::atomic<bool> is_over = false;
  std::chrono::nanoseconds longest{};
  std::thread launcher([&] {
    std::vector<std::pair<std::string, Instant>> last(static_cast<std::size_t>(num_ranks), {"", now()});
    for (; !is_over; std::this_thread::sleep_for(std::chrono::milliseconds(5))) {
      for (std::size_t rank = 0; rank < last.size(); ++rank) {
        const std::string key = segment->key(static_cast<int>(rank));
        if (key != last[rank].first) last[rank] = {key, now()};
        if (!key.empty()) longest = std::max<std::chrono::nanoseconds>(longest, now() - last[rank].second);
      }
    }
  });
  std::exception_ptr error;
  try {
    testing::on_all_ranks(program, testing::settings_of(1), segment, [&](RankRuntime& runtime, int rank) {
      Checkpointing saving(runtime, folder, 0, {.model = "m", .seq = 1, .global_batch = 1});
      saving.before_writing([&, rank](Stage stage) { hold(rank, stage); });
      runtime.run_step();
      saving.finish();
    });
  } catch (...) {
    error = std::current_exception();
  }
  is_over = true;
  launcher.join();
  if (error) std::rethrow_exception(error);
  return longest;
}

class SlowDisk : public ::testing::TestWithParam<std::pair<std::int64_t, Stage>> {};

INSTANTIATE_TEST_SUITE_P(Saves, SlowDisk,
                         ::testing::Values(std::pair(1, Stage::shards), std::pair(2, Stage::shards),
                                           std::pair(2, Stage::mark)));

TEST_P(SlowDisk, KillsNoHealthyRun) {
  const auto [num_ranks, slow] = GetParam();
  const TestFolder folder;
  const auto longest = train_and_save(num_ranks, folder.path(), [&, slow = slow](int rank, Stage stage) {
    // Rank 0 marks; of the shards, one is enough.
    if (stage == slow && rank == (slow == Stage::mark ? 0 : num_ranks - 1)) std::this_thread::sleep_for(2.5 * kTimeOut);
  });
  EXPECT_LT(longest, kTimeOut);
  EXPECT_TRUE(last_checkpoint(folder.path()));
}

TEST(Checkpointing, AWriterThatFailsEndsTheRunAndNothingIsDone) {
  for (const Stage failing : {Stage::shards, Stage::mark}) {
    const TestFolder folder;
    const int culprit = failing == Stage::mark ? 0 : 1;
    const std::string error = error_of(folder, [&] {
      train_and_save(2, folder.path(), [&](int rank, Stage stage) {
        if (stage == failing && rank == culprit) throw std::runtime_error("no space left");
      });
    });
    EXPECT_THAT(error, ::testing::HasSubstr("no space left"));
    EXPECT_FALSE(last_checkpoint(folder.path()));
  }
}

}  // namespace
}  // namespace orrery::executor
