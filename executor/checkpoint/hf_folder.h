// SPDX-License-Identifier: Apache-2.0
// The tensors of a folder as Hugging Face Transformers writes it: in model.safetensors, or in several files that
// model.safetensors.index.json lists. Reads headers at once and elements when they are wanted.
#pragma once

#include "executor/checkpoint/safetensors.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace orrery::executor {

class HfFolder {
 public:
  static constexpr const char* kSingle = "model.safetensors";
  static constexpr const char* kIndex = "model.safetensors.index.json";

  /// Throws: ConfigError with all problems: files that are missing, cut off or not in the format, and tensors that the
  /// index places where they are not.
  explicit HfFolder(std::filesystem::path folder);

  const std::filesystem::path& path() const { return path_; }
  /// Names of all tensors, and the file that holds each.
  const std::map<std::string, const SafetensorsFile*>& tensors() const { return tensors_; }
  /// By what copies of the folder know each other, wherever they are: a hash of the names, types and shapes of all
  /// tensors and of the first kilobyte of each. Copies that differ behind those are taken for the same.
  std::string fingerprint() const;

 private:
  /// By file, the tensors that the index says are in it.
  std::map<std::string, std::vector<std::string>> read_index() const;

  std::filesystem::path path_;
  std::map<std::string, SafetensorsFile> files_;
  std::map<std::string, const SafetensorsFile*> tensors_;
};

}  // namespace orrery::executor
