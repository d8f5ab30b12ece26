// SPDX-License-Identifier: Apache-2.0
#include "executor/runtime/checkpointing.h"

#include "executor/runtime/saved_state.h"

#include <utility>

namespace orrery::executor {
namespace {

constexpr std::string_view kKey = "checkpoint";

}  // namespace

Checkpointing::Checkpointing(RankState& rank, std::filesystem::path folder, std::int64_t every,
                             TrainingIdentity training)
    : rank_(rank),
      folder_(std::move(folder)),
      every_(every),
      training_(std::move(training)),
      tensors_(tensors_of(rank.program)),
      last_step_(rank.step) {}

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
  writer_.start(path, rank_.view.rank.value(), std::move(pieces));
  under_way_ = last_step_ = rank_.step;
}

void Checkpointing::collect(bool wait) {
  if (!under_way_) return;
  if (!wait) {
    std::int64_t num_finished[] = {writer_.finished() ? 1 : 0};
    rank_.groups.world().all_reduce(std::span<std::int64_t>(num_finished), kKey);
    if (num_finished[0] < rank_.program.mesh.world()) return;
  }
  writer_.wait();
  rank_.groups.world().barrier(kKey);  // a rank whose writer has failed does not get here
  const std::int64_t step = *std::exchange(under_way_, std::nullopt);
  if (rank_.view.rank.value() != 0) return;
  const std::filesystem::path path = checkpoint_of_step(folder_, step);
  finish_checkpoint(path, step, rank_.program.mesh.world(), training_, tensors_);
  if (observer_) observer_({path, copy_time_, writer_.write_time()});
}

}  // namespace orrery::executor
