// SPDX-License-Identifier: Apache-2.0
// A training run as one thing, whatever its layout: what it computed, put together from its ranks by global name, and
// what it took, held against what the program says. Every test that compares layouts starts here.
#pragma once

#include "program/arrivals.h"
#include "tests/unit/executor/runtime/thread_ranks.h"

#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace orrery::executor::testing {

struct WholeRun {
  std::vector<double> losses, norms;                    // of each step
  std::map<std::string, std::vector<float>> weights;    // after the last step, whole; selection biases too
  std::map<std::string, std::vector<float>> gradients;  // of the first step, over all ranks, before clipping
};

/// Trains `num_steps` steps and expects on the way that copies of a weight are equal on all ranks that hold them, a
/// head tied to the embedding of another stage as well: its name is that of the embedding. `prepare`: called for each
/// rank, in its thread, before its first step; `backend`: how the ranks reach each other.
WholeRun run_whole(const StepProgram& program, const TrainingSettings& settings,
                   const std::function<void(RankRuntime&)>& prepare = {}, Backend backend = Backend::shm);

/// Replaces what a rank holds of each weight and selection bias by its part of the whole ones, which are all there.
void set_weights(RankState& rank, const std::map<std::string, std::vector<float>>& whole);

/// Of one step: expects that every op has sent what work.h says, over all ranks, and that no rank's arena has held more
/// or less than the replay of its program with the rows that did arrive.
void expect_accounts(const StepProgram& program, const TrainingSettings& settings, Backend backend = Backend::shm);

/// Expects equal bits of all weights, and equal losses and norms.
void expect_same_bits(const WholeRun& want, const WholeRun& got);
/// Norm of the difference, relative to that of `want`. Requires: equal sizes.
double relative_difference(std::span<const float> want, std::span<const float> got);
/// Expects losses, norms and each weight's gradient within `tolerance` of each other: relative, a gradient to its norm.
/// Norms behind an update may differ by `later_norms` tolerances; where that is more than one, equality.md says why.
void expect_close(const WholeRun& want, const WholeRun& got, double tolerance = 1e-5, double later_norms = 1.0);

}  // namespace orrery::executor::testing
