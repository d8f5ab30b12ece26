// SPDX-License-Identifier: Apache-2.0
// When a rank saves: it copies its share at the end of a step, a thread writes it while training goes on, and as soon
// as all ranks have written theirs, rank 0 marks the checkpoint as DONE. One save at a time: the next one waits.
#pragma once

#include "executor/checkpoint/shard_writer.h"
#include "executor/runtime/rank_state.h"

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>

namespace orrery::executor {

/// A save that is complete.
struct SavedCheckpoint {
  std::filesystem::path path;
  std::chrono::duration<double> copy_time, write_time;  // of rank 0: the first one stops training, the second does not
};

class Checkpointing {
 public:
  /// Saves into `folder`, after every `every` steps; 0: only when told to. Collective: all ranks of the program have
  /// one and call it alike.
  Checkpointing(RankState& rank, std::filesystem::path folder, std::int64_t every, TrainingIdentity training);

  /// Call it after each step. Throws: BackendError, when a shard or the manifest could not be written.
  void after_step();
  /// Saves now. Requires: nothing is under way.
  void save();
  /// Saves if the last step was not saved, and returns when all is DONE.
  void finish();

  /// Called on rank 0 for every checkpoint that is DONE.
  void on_saved(std::function<void(const SavedCheckpoint&)> observer) { observer_ = std::move(observer); }

 private:
  /// Marks the save under way, if all ranks have written; waits for them when `wait`.
  void collect(bool wait);

  RankState& rank_;
  std::filesystem::path folder_;
  std::int64_t every_;
  TrainingIdentity training_;
  std::map<std::string, TensorSize> tensors_;
  ShardWriter writer_;
  std::optional<std::int64_t> under_way_;  // its step
  std::int64_t last_step_;                 // that was saved, or with which the run began
  std::chrono::duration<double> copy_time_{};
  std::function<void(const SavedCheckpoint&)> observer_;
};

}  // namespace orrery::executor
