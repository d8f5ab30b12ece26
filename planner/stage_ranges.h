// SPDX-License-Identifier: Apache-2.0
// What a stage could hold: consecutive layers of a model and, behind the last of them, its prediction modules as one
// more unit; and what that takes with each choice of recomputation, for all strategies that share a table. Models have
// few kinds of layers, so ranges with the same kinds in the same order are one.
#pragma once

#include "planner/family.h"
#include "planner/operator_table.h"

#include <cstdint>
#include <set>
#include <unordered_map>
#include <vector>

namespace orrery::planner {

class StageRanges {
 public:
  /// Of the model and the choices of `context`; `table` must outlive it, too.
  StageRanges(const FamilyContext& context, Mtp mtp, OperatorTable& table);

  /// Layers, and one for all prediction modules if they are trained.
  std::int64_t num_units() const { return num_layers_ + (num_mtp_ > 0 ? 1 : 0); }

  /// The ends of the model on a stage.
  struct Ends {
    bool embedding = false, head = false;
  };
  /// Whether the rules allow a stage with the units [first, end).
  bool is_legal(std::int64_t first, std::int64_t end, Ends ends) const;
  /// The stage, nothing recomputed.
  StageLayout layout(std::int64_t first, std::int64_t end, Ends ends) const;
  /// The first unit of the first range with the same kinds of units.
  std::int64_t representative(std::int64_t first, std::int64_t end) const;

  /// Least times of a micro-batch, forward and backward, with `modules` recomputed in every layer.
  Seconds time(std::int64_t first, std::int64_t end, Ends ends, const std::set<RecomputeModule>& modules = {});
  struct Timed {
    Seconds time;
    std::size_t choice = 0;  // into the choices of recomputation
  };
  /// All choices of the domains, the fastest first.
  const std::vector<Timed>& by_time(std::int64_t first, std::int64_t end, Ends ends);

 private:
  const FamilyContext& c_;
  OperatorTable& table_;
  const std::int64_t num_layers_, num_mtp_;
  std::vector<std::int64_t> alike_;  // by two units: how many from there on are alike
  std::unordered_map<std::int64_t, std::vector<Timed>> by_time_;
};

/// What the slots of a stage take for a micro-batch.
Seconds time_of_stage(OperatorTable& table, const StageLayout& stage);

}  // namespace orrery::planner
