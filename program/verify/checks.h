// SPDX-License-Identifier: Apache-2.0
// The checks behind verify(), each in a file of its own. Every one but check_structure takes its word for granted.
#pragma once

#include "program/step_program.h"

#include <string>
#include <vector>

namespace orrery::verify_checks {

/// Problems found so far; after kMost no more are written down.
class Problems {
 public:
  static constexpr std::size_t kMost = 20;

  /// "pipeline rank 3: " and the text.
  void add(std::size_t rank, const std::string& text) {
    if (list_.size() < kMost) list_.push_back("pipeline rank " + std::to_string(rank) + ": " + text);
  }
  bool empty() const { return list_.empty(); }
  std::vector<std::string> take() && { return std::move(list_); }

 private:
  std::vector<std::string> list_;
};

/// Indices in range, dependencies on earlier ops, shapes on queues that run them, micro-batches and stages that exist.
void check_structure(const StepProgram& program, Problems& problems);

/// No key twice on a rank; each micro-batch passes each stage once; what goes forward also comes back: a matrix or an
/// attention has its gradients.
void check_passes(const StepProgram& program, Problems& problems);

/// Tensors are created once, used while alive and released once, and whoever uses one has waited for whoever wrote it;
/// whoever changes or releases it, for all who use it.
void check_tensors(const RankClass& rank_class, Problems& problems);

/// Runs one replica, a rank for each pipeline rank, in zero time: all ends of messages and collectives meet, in one
/// order and with one size.
void check_meetings(const StepProgram& program, Problems& problems);

}  // namespace orrery::verify_checks
