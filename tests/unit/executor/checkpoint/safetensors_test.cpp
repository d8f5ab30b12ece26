// SPDX-License-Identifier: Apache-2.0
#include "executor/checkpoint/safetensors.h"

#include "tests/unit/executor/checkpoint/broken_files.h"

#include <limits>

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using testing::error_of;
using testing::TestFolder;

/// A file with this header, then `num_bytes` zeros.
std::string file_of(const std::string& header, std::size_t num_bytes) {
  std::string text(8, '\0');
  text[0] = static_cast<char>(header.size());
  return text + header + std::string(num_bytes, '\0');
}

TEST(Safetensors, WhatIsWrittenIsRead) {
  const TestFolder folder;
  const std::vector<float> a = {1.5F, -2.0F, 3.0F, 0.0F, 5.0F, 6.0F};
  const std::uint16_t halves[] = {0x3F80, 0xC000};  // bf16: 1, -2
  const TensorToWrite tensors[] = {{"a", StoredType::f32, {2, 3}, std::as_bytes(std::span(a))},
                                   {"b", StoredType::bf16, {2}, std::as_bytes(std::span(halves))}};
  write_safetensors(folder / "x.safetensors", {{"format", "pt"}}, tensors);
  const SafetensorsFile file(folder / "x.safetensors");
  EXPECT_EQ(file.metadata().at("format"), "pt");
  EXPECT_EQ(file.tensors().at("a").shape, (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(file.read_f32("a"), a);
  EXPECT_EQ(file.read_f32("b"), (std::vector<float>{1.0F, -2.0F}));
}

// Bytes as the reference implementation writes them: header length, header, data.
TEST(Safetensors, ReadsTheFormatAsDescribed) {
  const TestFolder folder;
  std::string text = file_of(R"({"h":{"dtype":"F16","shape":[4],"data_offsets":[0,8]}})", 8);
  const std::uint16_t halves[] = {0x3C00, 0xC100, 0x0001, 0x7C00};  // 1, -2.5, 2^-24, infinity
  text.replace(text.size() - 8, 8, reinterpret_cast<const char*>(halves), 8);
  write_file_atomically(folder / "x", text);
  EXPECT_EQ(SafetensorsFile(folder / "x").read_f32("h"),
            (std::vector<float>{1.0F, -2.5F, 0x1p-24F, std::numeric_limits<float>::infinity()}));
}

TEST(Safetensors, NamesWhatIsWrongWithAFile) {
  const TestFolder folder;
  const auto error = [&](const std::string& text) {
    write_file_atomically(folder / "x", text);
    return error_of(folder, [&] { SafetensorsFile(folder / "x"); });
  };
  const std::string good = file_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8);
  EXPECT_EQ(error(good), "");
  EXPECT_EQ(error(""), "x: expected a safetensors file, got 0 bytes");
  EXPECT_EQ(error(good.substr(0, 30)),
            "x: expected a safetensors file, but its header would have 54 bytes and the file has 30");
  EXPECT_EQ(error(good.substr(0, good.size() - 1)), "x: the header describes 70 bytes, the file has 69");
  EXPECT_EQ(error(good + "x"), "x: the header describes 70 bytes, the file has 71");
  EXPECT_EQ(error(file_of(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8)),
            "x:1: /a/data_offsets: expected 12 bytes, as type and shape say, got 8");
  EXPECT_EQ(error(file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8)),
            "x: tensors must lie one behind the other: one begins at byte 66, not 62");
  EXPECT_NE(error(file_of(R"({"a":{"dtype":"I8","shape":[8],"data_offsets":[0,8]}})", 8)), "");
  EXPECT_NE(error(file_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}})", 8)), "");
  EXPECT_NE(
      error(file_of(R"({"a":{"dtype":"F32","shape":[281474976710656,281474976710656],"data_offsets":[0,8]}})", 8)), "");
  EXPECT_EQ(error_of(folder, [&] { SafetensorsFile(folder / "none"); }),
            "none: expected a readable file, got: No such file or directory");
}

TEST(Safetensors, NamesATensorThatIsMissingOrHasBecomeShorter) {
  const TestFolder folder;
  write_file_atomically(folder / "x", file_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8));
  const SafetensorsFile file(folder / "x");
  EXPECT_EQ(error_of(folder, [&] { file.read("b"); }), "x: it has no tensor 'b'");
  std::filesystem::resize_file(folder / "x", 65);
  EXPECT_EQ(error_of(folder, [&] { file.read("a"); }), "x: tensor 'a': expected 8 bytes, could read 3");
}

TEST(Safetensors, NamesAFullDisk) {
  const TestFolder folder;
  const std::vector<float> a(1'000'000);
  const TensorToWrite tensors[] = {{"a", StoredType::f32, {1'000'000}, std::as_bytes(std::span(a))}};
  std::filesystem::create_symlink("/dev/full", folder / "full");
  EXPECT_EQ(error_of(folder, [&] { write_safetensors(folder / "full", {}, tensors); }),
            "cannot write full: No space left on device");
}

}  // namespace
}  // namespace orrery::executor
