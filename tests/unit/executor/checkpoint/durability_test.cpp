// SPDX-License-Identifier: Apache-2.0
// Nothing counts that a crash of the machine could take back: when DONE appears, all that it promises has been brought
// to the disk. This program has an fsync of its own, which writes down what was brought there and passes it on.
#include "executor/checkpoint/checkpoint.h"
#include "tests/unit/base/test_folder.h"

#include <filesystem>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

struct Synced {
  std::string path;
  bool was_done;  // whether DONE was there, in it or one folder below
};
std::vector<Synced>* record = nullptr;  // null: nobody is interested

}  // namespace

extern "C" int fsync(int descriptor) {
  if (record != nullptr) {
    const std::filesystem::path path = std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(descriptor));
    record->push_back({path.string(),
                       std::filesystem::exists(path / "DONE") || std::filesystem::exists(path / "step_00000001/DONE")});
  }
  return static_cast<int>(syscall(SYS_fsync, descriptor));
}

namespace orrery::executor {
namespace {

TEST(Durability, AllThatDonePromisesIsOnTheDiskBeforeItAppears) {
  const orrery::testing::TestFolder place;
  const std::filesystem::path folder = place / "new", path = checkpoint_of_step(folder, 1);
  std::vector<PieceToWrite> pieces = {{{"w", StatePart::value, {0, 1, 0, 2}}, {1.0F, 2.0F}}};
  std::vector<Synced> synced;
  record = &synced;
  start_checkpoint(path);
  write_shard(path, 0, pieces);
  finish_checkpoint(path, 1, 1, {.model = "m", .seq = 1, .global_batch = 1}, {{"w", {1, 2}}});
  record = nullptr;

  std::vector<std::string> before, after;
  for (const Synced& s : synced) (s.was_done ? after : before).push_back(s.path);
  const std::string in = path.string() + "/", own = "." + std::to_string(getpid()) + ".tmp";
  EXPECT_THAT(before,
              ::testing::ElementsAre(in + "rank_00000.safetensors" + own, path.string(), in + "manifest.json" + own,
                                     path.string(), folder.string(), place.path().string(), in + "DONE" + own));
  EXPECT_THAT(after, ::testing::ElementsAre(path.string()));
}

}  // namespace
}  // namespace orrery::executor
