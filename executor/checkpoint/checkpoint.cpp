// SPDX-License-Identifier: Apache-2.0
#include "executor/checkpoint/checkpoint.h"

#include "base/check.h"
#include "base/errors.h"
#include "base/fnv.h"

#include <algorithm>
#include <cstring>
#include <system_error>

#include <fmt/format.h>

namespace orrery::executor {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "step_";
constexpr std::size_t kStepDigits = 8;  // at least
constexpr const char* kDone = "DONE";
constexpr const char* kManifest = "manifest.json";
constexpr const char* kPieces = "pieces";

std::string shard_name(std::int64_t rank) { return fmt::format("rank_{:05}.safetensors", rank); }

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Whether checkpoint_of_step() gives such a name. Others, `step_notes` or `step_500`, are not ours to read or remove.
bool is_name_of_checkpoint(std::string_view name) {
  if (!name.starts_with(kPrefix)) return false;
  const std::string_view step = name.substr(kPrefix.size());
  return step.size() >= kStepDigits && step.find_first_not_of("0123456789") == std::string_view::npos;
}

/// The folders of checkpoints in `folder`, in the order of their steps.
std::vector<fs::path> checkpoints_in(const fs::path& folder) {
  std::error_code error;
  if (!fs::is_directory(folder, error)) {
    throw ConfigError({Problem{.file = folder.string(), .message = "expected a folder with checkpoints, got none"}});
  }
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.is_directory() && is_name_of_checkpoint(entry.path().filename().string())) found.push_back(entry.path());
  }
  const auto by_length_and_text = [](const fs::path& a, const fs::path& b) {
    const std::string x = a.filename().string(), y = b.filename().string();
    return x.size() != y.size() ? x.size() < y.size() : x < y;
  };
  std::sort(found.begin(), found.end(), by_length_and_text);
  return found;
}

/// What DONE holds: the checksum of the manifest.
std::string checksum_of(std::string_view manifest) { return fmt::format("{:016x}\n", fnv1a(manifest)); }

/// The manifest of a checkpoint that is DONE. Throws: ConfigError, also when it is not the one that was saved there.
Manifest manifest_of(const fs::path& checkpoint) {
  const std::string path = (checkpoint / kManifest).string();
  if (read_file((checkpoint / kDone).string()) != checksum_of(read_file(path))) {
    throw ConfigError({Problem{.file = path, .message = "is corrupted: its checksum differs from that in DONE"}});
  }
  Manifest manifest = read_manifest(path);
  const std::string name = checkpoint.filename().string();
  if (is_name_of_checkpoint(name) && name != checkpoint_of_step("", manifest.step).string()) {
    throw ConfigError(
        {Problem{.file = path,
                 .pointer = "/step",
                 .message = fmt::format("expected the step of the folder's name, {}, got {}", name, manifest.step)}});
  }
  return manifest;
}

}  // namespace

fs::path checkpoint_of_step(const fs::path& folder, std::int64_t step) {
  return folder / fmt::format("{}{:0{}}", kPrefix, step, kStepDigits);
}

std::optional<fs::path> last_checkpoint(const fs::path& folder) {
  std::vector<fs::path> all = checkpoints_in(folder);
  const auto last =
      std::find_if(all.rbegin(), all.rend(), [](const fs::path& path) { return fs::exists(path / kDone); });
  return last == all.rend() ? std::nullopt : std::optional(*last);
}

void start_checkpoint(const fs::path& checkpoint) {
  std::error_code error;
  fs::remove_all(checkpoint, error);
  if (!error) fs::create_directories(checkpoint, error);
  if (error) throw BackendError(fmt::format("cannot make {}: {}", checkpoint.string(), error.message()));
}

void remove_incomplete(const fs::path& folder) {
  for (const fs::path& path : checkpoints_in(folder)) {
    std::error_code ignored;
    if (!fs::exists(path / kDone)) fs::remove_all(path, ignored);
  }
}

void write_shard(const fs::path& checkpoint, std::int64_t rank, std::vector<PieceToWrite>& pieces) {
  std::vector<TensorToWrite> tensors;
  std::vector<StoredPiece> list;
  for (PieceToWrite& p : pieces) {
    const std::span<const std::byte> bytes = std::as_bytes(std::span(p.values));
    p.piece.checksum = fnv1a(text_of(bytes));
    list.push_back(p.piece);
    tensors.push_back({.name = p.piece.name(),
                       .type = StoredType::f32,
                       .shape = {p.piece.box.rows, p.piece.box.cols},
                       .bytes = bytes});
  }
  JsonWriter text(JsonWriter::Layout::line);
  write_pieces(text, list);
  write_safetensors((checkpoint / shard_name(rank)).string(), {{kPieces, text.text()}}, tensors);
}

void finish_checkpoint(const fs::path& checkpoint, std::int64_t step, std::int64_t num_ranks,
                       const TrainingIdentity& training, const std::map<std::string, TensorSize>& tensors) {
  Manifest manifest{.step = step, .training = training, .tensors = tensors, .shards = {}};
  const std::string path = (checkpoint / kManifest).string();
  std::string done;
  try {
    for (std::int64_t rank = 0; rank < num_ranks; ++rank) {
      const SafetensorsFile shard((checkpoint / shard_name(rank)).string());
      const JsonDocument pieces = JsonDocument::parse_text(shard.metadata().at(kPieces), shard.path());
      manifest.shards.push_back(
          {.file = shard_name(rank), .bytes = shard.file_bytes(), .pieces = read_pieces(pieces.root_value())});
      pieces.throw_if_problems();
    }
    const std::string text = to_json(manifest);
    done = checksum_of(text);
    AtomicFile file(path);
    file.append(text);
    file.commit(AtomicFile::Durability::on_disk);
    read_manifest(path);  // that every tensor is whole is checked before anybody relies on it
  } catch (const ConfigError& error) {
    throw BackendError(fmt::format("the checkpoint that was just written is not complete: {}", error.what()));
  }
  // The names of this folder and of the one it is in are as new as the files may be.
  const fs::path folder = fs::absolute(checkpoint).parent_path();
  sync_folder(folder.string());
  sync_folder(folder.parent_path().string());
  AtomicFile file((checkpoint / kDone).string());
  file.append(done);
  file.commit(AtomicFile::Durability::on_disk);
}

CheckpointReader::CheckpointReader(fs::path checkpoint) : path_(std::move(checkpoint)), manifest_(manifest_of(path_)) {
  ProblemList problems;
  for (std::size_t i = 0; i < manifest_.shards.size(); ++i) {
    const Shard& shard = manifest_.shards[i];
    const fs::path file = path_ / shard.file;
    std::error_code error;
    const auto bytes = static_cast<std::int64_t>(fs::file_size(file, error));
    if (error) {
      problems.add({.file = file.string(), .message = fmt::format("expected a shard, got: {}", error.message())});
    } else if (bytes != shard.bytes) {
      problems.add({.file = file.string(), .message = fmt::format("expected {} bytes, got {}", shard.bytes, bytes)});
    }
    for (const StoredPiece& piece : shard.pieces) places_[{piece.tensor, piece.part}].push_back({i, &piece});
  }
  problems.throw_if_any();
}

const SafetensorsFile& CheckpointReader::file(std::size_t shard) const {
  const auto found = files_.find(shard);
  if (found != files_.end()) return found->second;
  return files_.emplace(shard, SafetensorsFile((path_ / manifest_.shards[shard].file).string())).first->second;
}

void CheckpointReader::read(const std::string& tensor, StatePart part, const Box& box, std::span<float> out) const {
  CHECK(static_cast<std::int64_t>(out.size()) == box.size(), tensor, out.size(), box.size());
  const auto found = places_.find({tensor, part});
  std::int64_t num_read = 0;
  for (const Place& place : found == places_.end() ? std::vector<Place>() : found->second) {
    const Box shared = common(place.piece->box, box);
    if (shared.size() == 0) continue;
    const SafetensorsFile& shard = file(place.shard);
    const std::vector<std::byte> bytes = shard.read(place.piece->name());
    const Box& have = place.piece->box;
    if (bytes.size() != static_cast<std::size_t>(have.size()) * sizeof(float) ||
        fnv1a(text_of(bytes)) != place.piece->checksum) {
      throw ConfigError({Problem{.file = shard.path(),
                                 .message = fmt::format("tensor '{}' is corrupted: its checksum differs from the "
                                                        "manifest's",
                                                        place.piece->name())}});
    }
    for (std::int64_t row = shared.row; row < shared.row + shared.rows; ++row) {
      const std::int64_t from = (row - have.row) * have.cols + shared.col - have.col;
      const std::int64_t to = (row - box.row) * box.cols + shared.col - box.col;
      std::memcpy(out.data() + to, bytes.data() + static_cast<std::size_t>(from) * sizeof(float),
                  static_cast<std::size_t>(shared.cols) * sizeof(float));
    }
    num_read += shared.size();
  }
  if (num_read != box.size()) {
    throw ConfigError({Problem{.file = path_.string(),
                               .message = fmt::format("{} of '{}': expected {} elements of a box, got {}",
                                                      name_of(part), tensor, box.size(), num_read)}});
  }
}

}  // namespace orrery::executor
