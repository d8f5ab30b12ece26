// SPDX-License-Identifier: Apache-2.0
// The dependencies of a rank class the other way round: which ops wait for an op. A program says what an op waits
// for, and leaves the order within a queue implied; an event simulation needs both, from the side of what has ended.
#pragma once

#include "program/step_program.h"

#include <cstdint>
#include <span>
#include <vector>

namespace orrery {

class Dependents {
 public:
  /// Complexity: linear in ops and dependencies.
  explicit Dependents(const RankClass& rank_class);

  /// Ops that wait for `op`: those that depend on it and the next one of its queue. An op that waits for it twice
  /// is there twice.
  std::span<const OpIndex> of(OpIndex op) const {
    return std::span(dependents_).subspan(begin_[op], begin_[op + 1] - begin_[op]);
  }

  /// By op: how many times it occurs in of().
  const std::vector<std::uint32_t>& num_predecessors() const { return num_predecessors_; }

 private:
  std::vector<std::uint32_t> begin_;
  std::vector<OpIndex> dependents_;
  std::vector<std::uint32_t> num_predecessors_;
};

}  // namespace orrery
