// SPDX-License-Identifier: Apache-2.0
#include "executor/checkpoint/checkpoint.h"

#include "executor/checkpoint/background_writer.h"
#include "tests/unit/executor/checkpoint/broken_files.h"

#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using testing::change_file;
using ::testing::EndsWith;
using testing::error_of;
using ::testing::HasSubstr;
using testing::TestFolder;

const std::string kShard = "step_00000003/rank_00001.safetensors";

/// Tensor w, 4 x 6, whose elements count from 0; columns 0 to 2 on rank 0, the others on rank 1.
void save(const std::filesystem::path& folder) {
  const auto path = checkpoint_of_step(folder, 3);
  start_checkpoint(path);
  for (std::int64_t rank = 0; rank < 2; ++rank) {
    PieceToWrite piece{{"w", StatePart::value, {0, 4, 3 * rank, 3}}, {}};
    for (std::int64_t row = 0; row < 4; ++row) {
      for (std::int64_t col = 3 * rank; col < 3 * rank + 3; ++col)
        piece.values.push_back(static_cast<float>(6 * row + col));
    }
    std::vector<PieceToWrite> pieces = {piece};
    write_shard(path, rank, pieces);
  }
  finish_checkpoint(path, 3, 2, {.model = "m", .seq = 1, .global_batch = 1}, {{"w", {4, 6}}});
}

std::vector<float> read(const std::filesystem::path& folder, const Box& box) {
  std::vector<float> values(static_cast<std::size_t>(box.size()));
  CheckpointReader(last_checkpoint(folder).value()).read("w", StatePart::value, box, values);
  return values;
}

TEST(Checkpoint, ABoxIsPutTogetherFromTheShardsThatItTouches) {
  const TestFolder folder;
  save(folder.path());
  EXPECT_EQ(read(folder.path(), {1, 2, 2, 3}), (std::vector<float>{8, 9, 10, 14, 15, 16}));
  std::vector<float> all(24);
  std::iota(all.begin(), all.end(), 0.0F);
  EXPECT_EQ(read(folder.path(), {0, 4, 0, 6}), all);
  std::vector<float> moment(24);
  EXPECT_EQ(error_of(folder,
                     [&] {
                       CheckpointReader(last_checkpoint(folder.path()).value())
                           .read("w", StatePart::first_moment, {0, 4, 0, 6}, moment);
                     }),
            "step_00000003: first_moment of 'w': expected 24 elements of a box, got 0");
}

TEST(Checkpoint, OnlyOneThatIsDoneCounts) {
  const TestFolder folder;
  EXPECT_FALSE(last_checkpoint(folder.path()));
  save(folder.path());
  start_checkpoint(checkpoint_of_step(folder.path(), 4));
  EXPECT_THAT(last_checkpoint(folder.path())->string(), EndsWith("step_00000003"));
  remove_incomplete(folder.path());
  EXPECT_FALSE(std::filesystem::exists(folder / "step_00000004"));
  EXPECT_TRUE(std::filesystem::exists(folder / "step_00000003"));
  EXPECT_EQ(error_of(folder, [&] { last_checkpoint(folder / "none"); }),
            "none: expected a folder with checkpoints, got none");
}

TEST(Checkpoint, FoldersThatOthersNamedAreNeitherReadNorRemoved) {
  const TestFolder folder;
  save(folder.path());
  const std::string foreign[] = {"step_notes",    "step_500",          "step_",
                                 "step_0000000x", "step_00000009.old", "steps_00000009"};
  for (const std::string& name : foreign) std::filesystem::create_directory(folder / name);
  std::filesystem::create_directory(folder / "step_99999999x");
  write_file_atomically(folder / "step_99999999x/DONE", "");
  std::filesystem::create_directory(folder / "step_123456789");  // ours: more steps than eight digits hold
  remove_incomplete(folder.path());
  for (const std::string& name : foreign) EXPECT_TRUE(std::filesystem::exists(folder / name)) << name;
  EXPECT_FALSE(std::filesystem::exists(folder / "step_123456789"));
  EXPECT_THAT(last_checkpoint(folder.path())->string(), EndsWith("step_00000003"));
}

TEST(Checkpoint, AShardThatIsMissingMakesNoCheckpoint) {
  const TestFolder folder;
  const auto path = checkpoint_of_step(folder.path(), 3);
  save(folder.path());
  std::filesystem::remove(folder / "step_00000003/DONE");
  std::filesystem::remove(folder / kShard);
  EXPECT_THAT(error_of(folder, [&] { finish_checkpoint(path, 3, 2, {}, {}); }), HasSubstr("rank_00001.safetensors"));
  EXPECT_FALSE(last_checkpoint(folder.path()));
}

TEST(Checkpoint, NamesAShardThatIsMissingShortOrCorrupted) {
  const TestFolder folder;
  const auto error = [&] { return error_of(folder, [&] { read(folder.path(), {0, 4, 0, 6}); }); };
  save(folder.path());
  change_file(folder / kShard, [](std::string& text) { text[text.size() - 2] ^= 1; });  // one bit of the last number
  EXPECT_EQ(error(), kShard + ": tensor 'w/value/0,3' is corrupted: its checksum differs from the manifest's");
  change_file(folder / kShard, [](std::string& text) { text.pop_back(); });
  const auto bytes = std::filesystem::file_size(folder / kShard);
  EXPECT_EQ(error(), kShard + ": expected " + std::to_string(bytes + 1) + " bytes, got " + std::to_string(bytes));
  std::filesystem::remove(folder / kShard);
  EXPECT_EQ(error(), kShard + ": expected a shard, got: No such file or directory");
}

TEST(Checkpoint, AManifestThatIsNotTheOneThatWasSavedIsNamed) {
  const TestFolder folder;
  const auto error = [&] { return error_of(folder, [&] { read(folder.path(), {0, 4, 0, 6}); }); };
  save(folder.path());
  const std::string manifest = "step_00000003/manifest.json";
  change_file(folder / manifest, [](std::string& text) { text[text.find("\"step\": 3") + 8] = '5'; });
  EXPECT_EQ(error(), manifest + ": is corrupted: its checksum differs from that in DONE");
  save(folder.path());
  write_file_atomically(folder / "step_00000003/DONE", "");
  EXPECT_EQ(error(), manifest + ": is corrupted: its checksum differs from that in DONE");
  save(folder.path());
  std::filesystem::rename(folder / "step_00000003", folder / "step_00000012");
  EXPECT_EQ(error(),
            "step_00000012/manifest.json: /step: expected the step of the folder's name, step_00000012, got 3");
}

TEST(BackgroundWriter, AFullDiskEndsTheSaveWithItsReason) {
  const TestFolder folder;
  std::filesystem::create_symlink("/dev/full", folder / "rank_00000.safetensors");
  BackgroundWriter writer;
  writer.start([&] {
    std::vector<PieceToWrite> pieces = {{{"w", StatePart::value, {0, 1, 0, 100'000}}, std::vector<float>(100'000)}};
    write_shard(folder.path(), 0, pieces);
  });
  EXPECT_EQ(error_of(folder, [&] { writer.wait(); }), "cannot write rank_00000.safetensors: No space left on device");
  EXPECT_TRUE(writer.finished());
}

}  // namespace
}  // namespace orrery::executor
