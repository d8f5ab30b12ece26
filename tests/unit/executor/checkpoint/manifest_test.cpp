// SPDX-License-Identifier: Apache-2.0
#include "executor/checkpoint/manifest.h"

#include "base/errors.h"
#include "tests/unit/executor/checkpoint/broken_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using testing::error_of;
using ::testing::HasSubstr;
using testing::TestFolder;

Manifest small_manifest() {
  Manifest m{.step = 3, .training = {}, .tensors = {}, .shards = {}};
  m.training = {.model = "m", .model_sha256 = "ab", .optimizer = "adamw", .seq = 8, .global_batch = 2, .seed = 1};
  m.training.corpus = "synthetic";
  m.tensors = {{"w", {4, 6}}};
  m.shards = {{"a", 100, {{"w", StatePart::value, {0, 4, 0, 3}, 7}}},
              {"b", 100, {{"w", StatePart::value, {0, 4, 3, 3}, 0xfedcba9876543210U}}}};
  return m;
}

std::string error_of_reading(const Manifest& manifest) {
  const TestFolder folder;
  write_file_atomically(folder / "m.json", to_json(manifest));
  return error_of(folder, [&] { read_manifest(folder / "m.json"); });
}

TEST(Manifest, WhatIsWrittenIsRead) {
  const TestFolder folder;
  const Manifest want = small_manifest();
  write_file_atomically(folder / "m.json", to_json(want));
  const Manifest got = read_manifest(folder / "m.json");
  EXPECT_EQ(got.step, 3);
  EXPECT_EQ(got.training, want.training);
  EXPECT_EQ(got.tensors, want.tensors);
  ASSERT_EQ(got.shards.size(), 2U);
  EXPECT_EQ(got.shards[1].pieces, want.shards[1].pieces);
}

TEST(Manifest, EveryElementHasOneOwner) {
  Manifest m = small_manifest();
  m.shards[0].pieces[0].box.cols = 2;
  EXPECT_EQ(error_of_reading(m), "m.json:1: pieces of the value of 'w' have 20 elements, it has 24");
  m = small_manifest();
  m.shards[0].pieces[0].box.cols = 4;
  EXPECT_THAT(error_of_reading(m), HasSubstr("two pieces of the value of 'w' overlap"));
  m = small_manifest();
  m.shards[0].pieces[0].box.rows = 5;
  EXPECT_THAT(error_of_reading(m), HasSubstr("the value of 'w' has a piece outside of it"));
  m = small_manifest();
  m.tensors["v"] = {1, 1};
  EXPECT_THAT(error_of_reading(m), HasSubstr("no shard has a value of 'v'"));
  m = small_manifest();
  m.shards[0].pieces[0].tensor = "u";
  EXPECT_THAT(error_of_reading(m), HasSubstr("a shard has the value of 'u', which is not among the tensors"));
}

TEST(Manifest, AnotherTrainingRunIsNamedWithAllThatDiffers) {
  const TrainingIdentity saved = small_manifest().training;
  TrainingIdentity wanted = saved;
  check_same_training("ck", saved, wanted);
  wanted.model = "n";
  wanted.seed = 2;
  EXPECT_EQ(error_of(TestFolder(), [&] { check_same_training("ck", saved, wanted); }),
            "ck: expected model n of this run, got m\nck: expected seed 2 of this run, got 1");
}

TEST(Manifest, TensorsThatAreMissingUnknownOrOfAnotherSizeAreNamed) {
  EXPECT_EQ(error_of(TestFolder(),
                     [] { check_tensors("ck", {{"a", {1, 2}}, {"c", {1, 1}}}, {{"a", {1, 3}}, {"b", {2, 2}}}); }),
            "ck: tensor 'a': expected 1 x 3, got 1 x 2\nck: missing tensor 'b' of 2 x 2\n"
            "ck: unknown tensor 'c': the model has none of that name");
}

}  // namespace
}  // namespace orrery::executor
