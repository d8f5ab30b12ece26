// SPDX-License-Identifier: Apache-2.0
#include "executor/checkpoint/hf_folder.h"

#include "base/errors.h"
#include "base/json_reader.h"
#include "base/sha256.h"

#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace orrery::executor {

namespace fs = std::filesystem;

HfFolder::HfFolder(fs::path folder) : path_(std::move(folder)) {
  std::error_code error;
  if (!fs::is_directory(path_, error)) {
    throw ConfigError(
        {Problem{.file = path_.string(), .message = "expected a folder with model.safetensors, got none"}});
  }
  const bool has_index = fs::exists(path_ / kIndex, error);
  std::map<std::string, std::vector<std::string>> listed;
  if (has_index) {
    listed = read_index();
  } else {
    listed[kSingle];
  }
  ProblemList problems;
  for (const auto& [name, tensors] : listed) {
    const std::string file_path = (path_ / name).string();
    try {
      files_.emplace(name, SafetensorsFile(file_path));
    } catch (const ConfigError& failure) {
      for (const Problem& problem : failure.problems()) problems.add(problem);
      continue;
    }
    const SafetensorsFile& file = files_.at(name);
    for (const std::string& tensor : tensors) {
      if (!file.tensors().contains(tensor)) {
        problems.add(
            {.file = file_path, .message = fmt::format("it has no tensor '{}', which the index says", tensor)});
      }
    }
    for (const auto& [tensor, ignored] : file.tensors()) {
      const auto [other, is_first] = tensors_.emplace(tensor, &file);
      if (!is_first) {
        problems.add(
            {.file = file_path, .message = fmt::format("tensor '{}' is in {}, too", tensor, other->second->path())});
      }
    }
  }
  problems.throw_if_any();
}

std::string HfFolder::fingerprint() const {
  constexpr std::int64_t kLookedAt = 1024;
  Sha256 hash;
  for (const auto& [name, file] : tensors_) {
    const SafetensorsFile::Tensor& tensor = file->tensors().at(name);
    hash.update(
        fmt::format("{} {} {}\n", name, name_of(kStoredTypeNames, tensor.type), fmt::join(tensor.shape, " x ")));
    hash.update(std::span<const std::byte>(file->read_first(name, kLookedAt)));
  }
  return hash.hex();
}

std::map<std::string, std::vector<std::string>> HfFolder::read_index() const {
  const JsonDocument document = JsonDocument::parse_file((path_ / kIndex).string());
  const JsonObject in = document.root();
  in.ignore("metadata");
  const JsonObject places = in.required("weight_map").object();
  std::map<std::string, std::vector<std::string>> listed;
  for (const std::string& tensor : places.keys()) {
    const JsonValue place = places.required(tensor);
    const std::string file = place.string();
    if (file.find('/') != std::string::npos) place.problem("expected a file of this folder, got " + file);
    listed[file].push_back(tensor);
  }
  in.finish();
  document.throw_if_problems();
  return listed;
}

}  // namespace orrery::executor
