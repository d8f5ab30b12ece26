// SPDX-License-Identifier: Apache-2.0
// When a rank saves: it copies its share at the end of a step, a thread writes it while training goes on, and as soon
// as all ranks have written theirs, a thread of rank 0 marks the checkpoint as DONE. One save at a time: the next one
// waits. However long a disk takes, nobody is taken for stuck: ranks that wait look, again and again, whether all are
// through, and each look is an op of its own.
#pragma once

#include "executor/checkpoint/background_writer.h"
#include "executor/runtime/rank_runtime.h"

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <string>

namespace orrery::executor {

/// A save that is complete.
struct SavedCheckpoint {
  std::filesystem::path path;
  std::chrono::duration<double> copy_time, write_time;  // of rank 0: the first one stops training, the second does not
};

class Checkpointing {
 public:
  enum class Stage { idle, shards, mark };  // what the threads of a save do: write shards; then one of rank 0, DONE

  /// Saves into `folder`, after every `every` steps; 0: only when told to. Collective: all ranks of the program have
  /// one and call it alike.
  Checkpointing(RankRuntime& runtime, std::filesystem::path folder, std::int64_t every, TrainingIdentity training);

  /// Call it after each step. Throws: BackendError, when a shard or the manifest could not be written.
  void after_step();
  /// Saves now. Requires: nothing is under way.
  void save();
  /// Saves if the last step was not saved, and returns when all is DONE.
  void finish();

  /// Called on rank 0 for every checkpoint that is DONE.
  void on_saved(std::function<void(const SavedCheckpoint&)> observer) { observer_ = std::move(observer); }
  /// Called in the thread that writes, before it writes the shard and before it marks; a test makes a slow disk of it.
  void before_writing(std::function<void(Stage)> hold) { hold_ = std::move(hold); }

 private:
  /// Moves the save under way as far as it can; to its end when `wait`.
  void collect(bool wait);
  /// Whether no thread of any rank is at work any more; when `wait`, not before that.
  bool all_are_through(bool wait);
  void begin_next_stage();
  void start_writing(std::function<void()> work);

  Endpoint& endpoint_;
  RankState& rank_;
  std::filesystem::path folder_;
  std::int64_t every_;
  TrainingIdentity training_;
  std::map<std::string, TensorSize> tensors_;
  Stage stage_ = Stage::idle;
  std::int64_t last_step_;  // that was saved or is under way, or with which the run began
  std::int64_t num_looks_ = 0;
  std::chrono::duration<double> copy_time_{}, write_time_{};
  std::function<void(const SavedCheckpoint&)> observer_;
  std::function<void(Stage)> hold_;
  BackgroundWriter writer_;  // the first to go: its thread uses the others
};

}  // namespace orrery::executor
