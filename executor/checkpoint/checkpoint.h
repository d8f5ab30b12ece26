// SPDX-License-Identifier: Apache-2.0
// A checkpoint on disk: a folder `step_N` with a shard of each rank, a manifest, and the file DONE, which is the last
// to appear and says that all the rest is there and on the disk, with the checksum of the manifest. A folder without it
// is what a run left that died; it counts for nothing.
#pragma once

#include "executor/checkpoint/manifest.h"
#include "executor/checkpoint/safetensors.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace orrery::executor {

/// `folder`/step_00000012
std::filesystem::path checkpoint_of_step(const std::filesystem::path& folder, std::int64_t step);

/// The complete checkpoint with most steps; none if there is none. Throws: ConfigError, when `folder` is no folder.
std::optional<std::filesystem::path> last_checkpoint(const std::filesystem::path& folder);

/// Makes room for a checkpoint: an empty folder, and its parents. Throws: BackendError.
void start_checkpoint(const std::filesystem::path& checkpoint);
/// Removes what runs that died have left in `folder`: folders that are named as checkpoint_of_step() does and are not
/// DONE, no others.
void remove_incomplete(const std::filesystem::path& folder);

/// A piece with its elements.
struct PieceToWrite {
  StoredPiece piece;
  std::vector<float> values;
};

/// Writes the shard of a rank, and the checksums of its pieces into it. Throws: BackendError.
void write_shard(const std::filesystem::path& checkpoint, std::int64_t rank, std::vector<PieceToWrite>& pieces);

/// Puts the manifest together from the shards of `num_ranks` ranks, which are all there, and marks the checkpoint as
/// DONE. Throws: BackendError, also when the shards do not make up `tensors`: then it is not marked.
void finish_checkpoint(const std::filesystem::path& checkpoint, std::int64_t step, std::int64_t num_ranks,
                       const TrainingIdentity& training, const std::map<std::string, TensorSize>& tensors);

/// Picks boxes out of a complete checkpoint, however it was cut.
class CheckpointReader {
 public:
  /// Reads the manifest, holds it against the checksum in DONE and the name of the folder, and looks whether all shards
  /// are there and have their size. Throws: ConfigError.
  explicit CheckpointReader(std::filesystem::path checkpoint);

  const std::filesystem::path& path() const { return path_; }
  const Manifest& manifest() const { return manifest_; }

  /// Elements of `box` of a tensor, row-major. Reads only the pieces that it touches, and holds each against its
  /// checksum. Throws: ConfigError, naming the shard and the tensor.
  void read(const std::string& tensor, StatePart part, const Box& box, std::span<float> out) const;

 private:
  struct Place {
    std::size_t shard;
    const StoredPiece* piece;
  };
  const SafetensorsFile& file(std::size_t shard) const;

  std::filesystem::path path_;
  Manifest manifest_;
  std::map<std::pair<std::string, StatePart>, std::vector<Place>> places_;
  mutable std::map<std::size_t, SafetensorsFile> files_;  // that were opened so far
};

}  // namespace orrery::executor
