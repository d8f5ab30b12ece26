// SPDX-License-Identifier: Apache-2.0
// What a checkpoint holds, put together again, for tests that compare two.
#pragma once

#include "executor/checkpoint/checkpoint.h"

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace orrery::executor::testing {

/// All that a checkpoint holds, whole.
using Content = std::map<std::pair<std::string, StatePart>, std::vector<float>>;

inline Content content(const std::filesystem::path& folder) {
  const CheckpointReader reader(last_checkpoint(folder).value());
  std::set<std::pair<std::string, StatePart>> keys;
  for (const Shard& shard : reader.manifest().shards) {
    for (const StoredPiece& piece : shard.pieces) keys.emplace(piece.tensor, piece.part);
  }
  Content out;
  for (const auto& key : keys) {
    const TensorSize size = reader.manifest().tensors.at(key.first);
    std::vector<float>& values = out[key];
    values.resize(static_cast<std::size_t>(size.rows * size.cols));
    reader.read(key.first, key.second, {0, size.rows, 0, size.cols}, values);
  }
  return out;
}

}  // namespace orrery::executor::testing
