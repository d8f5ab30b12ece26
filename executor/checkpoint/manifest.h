// SPDX-License-Identifier: Apache-2.0
// What a checkpoint holds and where (checkpoint/1, docs/formats/checkpoint.md): every tensor by its global name and
// size, cut into boxes of the whole tensor, each in one shard. It knows nothing of ranks and layouts, so any plan for
// the same model can pick what it needs.
#pragma once

#include "base/json_reader.h"
#include "base/json_writer.h"
#include "program/box.h"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace orrery::executor {

/// What is kept of an element of a weight.
enum class StatePart : std::uint8_t { value, first_moment, second_moment };
inline constexpr StatePart kStateParts[] = {StatePart::value, StatePart::first_moment, StatePart::second_moment};

std::string_view name_of(StatePart part);

/// A part of a tensor that lies in one shard, row-major, f32.
struct StoredPiece {
  std::string tensor;
  StatePart part = StatePart::value;
  Box box;
  std::uint64_t checksum = 0;  // fnv1a of its bytes

  /// Its name in the shard.
  std::string name() const;
  bool operator==(const StoredPiece&) const = default;
};

struct Shard {
  std::string file;        // within the folder of the checkpoint
  std::int64_t bytes = 0;  // of the file
  std::vector<StoredPiece> pieces;
};

/// What must be the same for a run to go on as if it had not stopped.
struct TrainingIdentity {
  std::string model, model_sha256;
  std::string optimizer;
  std::int64_t seq = 0, global_batch = 0, seed = 0;
  std::string corpus;  // sha256, or "synthetic"
  bool balanced_routing = false;
  bool operator==(const TrainingIdentity&) const = default;
};

struct TensorSize {
  std::int64_t rows = 0, cols = 0;
  bool operator==(const TensorSize&) const = default;
};

struct Manifest {
  std::int64_t step = 0;  // steps that were trained; the next one reads sequence step * global_batch first
  TrainingIdentity training;
  std::map<std::string, TensorSize> tensors;
  std::vector<Shard> shards;
};

std::string to_json(const Manifest& manifest);
/// Throws: ConfigError with all problems; that pieces overlap or leave a gap is one of them.
Manifest read_manifest(const std::string& path);

/// [[tensor, part, row, rows, col, cols, checksum], ...]
void write_pieces(JsonWriter& out, const std::vector<StoredPiece>& pieces);
std::vector<StoredPiece> read_pieces(const JsonValue& in);

/// Refuses to go on with another model, data set or seed. `where`: the checkpoint, for the message.
/// Throws: ConfigError, naming all that differs.
void check_same_training(const std::string& where, const TrainingIdentity& saved, const TrainingIdentity& wanted);

/// Throws: ConfigError, when `where` lacks a tensor of the model, has one that the model does not know, or of another
/// size.
void check_tensors(const std::string& where, const std::map<std::string, TensorSize>& saved,
                   const std::map<std::string, TensorSize>& wanted);

}  // namespace orrery::executor
