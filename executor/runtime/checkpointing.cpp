// SPDX-License-Identifier: Apache-2.0
#include "executor/runtime/checkpointing.h"

#include "executor/runtime/saved_state.h"

#include <algorithm>
#include <thread>
#include <utility>

#include <fmt/format.h>

namespace orrery::executor {
namespace {

constexpr std::string_view kKey = "checkpoint";
// Between two looks: twice as long each time, so that a fast disk is not waited for.
constexpr auto kFirstPause = std::chrono::milliseconds(1), kLongestPause = std::chrono::milliseconds(50);

}  // namespace

Checkpointing::Checkpointing(RankRuntime& runtime, std::filesystem::path folder, std::int64_t every,
                             TrainingIdentity training)
    : endpoint_(runtime.endpoint()),
      rank_(runtime.state()),
      folder_(std::move(folder)),
      every_(every),
      training_(std::move(training)),
      tensors_(tensors_of(rank_.program)),
      last_step_(rank_.step) {}

void Checkpointing::after_step() {
  const bool due = every_ > 0 && rank_.step % every_ == 0;
  collect(/*wait=*/due);
  if (due) save();
}

void Checkpointing::finish() {
  collect(/*wait=*/true);
  if (rank_.step > last_step_) save();
  collect(/*wait=*/true);
}

void Checkpointing::save() {
  const std::filesystem::path path = checkpoint_of_step(folder_, rank_.step);
  const bool is_first = rank_.view.rank.value() == 0;
  if (is_first) start_checkpoint(path);
  rank_.groups.world().barrier(kKey);  // the folder is there, and empty
  const auto begin = std::chrono::steady_clock::now();
  std::vector<PieceToWrite> pieces = saved_pieces(rank_.program, rank_.view.rank, rank_.weights);
  copy_time_ = std::chrono::steady_clock::now() - begin;
  last_step_ = rank_.step;
  stage_ = Stage::shards;
  const std::int64_t rank = rank_.view.rank.value();
  start_writing([path, rank, owned = std::move(pieces)]() mutable { write_shard(path, rank, owned); });
}

void Checkpointing::collect(bool wait) {
  while (stage_ != Stage::idle && all_are_through(wait)) begin_next_stage();
}

bool Checkpointing::all_are_through(bool wait) {
  for (auto pause = kFirstPause;; pause = std::min(2 * pause, kLongestPause)) {
    const std::string key = fmt::format("{} of step {}, look {}", kKey, last_step_, ++num_looks_);
    endpoint_.set_key(key);  // also of a rank without peers
    std::int64_t num_through[] = {writer_.finished() ? 1 : 0};
    rank_.groups.world().all_reduce(std::span<std::int64_t>(num_through), key);
    if (num_through[0] == rank_.program.mesh.world()) {
      writer_.wait();
      rank_.groups.world().barrier(key);  // a rank whose writer has failed does not get here
      return true;
    }
    if (!wait) return false;
    std::this_thread::sleep_for(pause);
  }
}

void Checkpointing::begin_next_stage() {
  const bool is_first = rank_.view.rank.value() == 0;
  const std::filesystem::path path = checkpoint_of_step(folder_, last_step_);
  if (stage_ == Stage::shards) {
    write_time_ = writer_.time();
    stage_ = Stage::mark;
    if (is_first) {
      start_writing([this, path, step = last_step_] {
        finish_checkpoint(path, step, rank_.program.mesh.world(), training_, tensors_);
      });
    }
    return;
  }
  stage_ = Stage::idle;
  if (is_first && observer_) observer_({path, copy_time_, write_time_});
}

void Checkpointing::start_writing(std::function<void()> work) {
  writer_.start([hold = hold_, stage = stage_, owned = std::move(work)] {
    if (hold) hold(stage);
    owned();
  });
}

}  // namespace orrery::executor
