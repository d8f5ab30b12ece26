// SPDX-License-Identifier: Apache-2.0
// The strategies that a search looks at: every combination of the values below, numbered, so that a search needs to
// store none of them. It is only a list of choices; which of them are legal, fit and are fast is asked elsewhere.
// What is not searched (precision, optimizer, ...) is taken from a base strategy.
#pragma once

#include "program/model.h"
#include "program/plan.h"
#include "program/strategy.h"

#include <cstdint>
#include <optional>
#include <set>
#include <vector>

namespace orrery::planner {

class SearchSpace {
 public:
  /// The stages that `base` lists, unless they are the even ones, are searched beside the usual layouts.
  /// Requires: num_devices >= 1, and that `model` outlives the space.
  SearchSpace(const Model& model, std::int64_t num_devices, Strategy base = {});

  /// Number of combinations, repetitions included.
  std::int64_t size() const;

  /// Combination `index`; nothing if it is only another way to write an earlier one.
  /// Requires: 0 <= index < size().
  std::optional<Strategy> at(std::int64_t index) const;

  /// The values of each dimension, for people.
  std::vector<Certificate::Dimension> domain() const;

 private:
  /// How layers are laid on stages: evenly, with one layer less at an end, or as the user listed them.
  struct Layout {
    bool fewer_first = false, fewer_last = false;
    std::vector<StageLayout> listed = {};
  };
  using Recompute = std::set<RecomputeModule>;

  std::optional<std::vector<StageLayout>> stages_of(const Layout& layout, std::int64_t pp) const;
  bool repeats(const Strategy& strategy) const;

  const Model& model_;
  std::int64_t num_devices_;
  Strategy base_;
  std::vector<std::int64_t> pp_, ep_, micro_batch_{1, 2, 4, 8};
  std::vector<int> zero_{0, 1};  // of dense and of expert states, apart
  std::vector<Schedule> schedules_{Schedule::one_f_one_b, Schedule::gpipe};
  std::vector<Recompute> recompute_;
  std::vector<Layout> layouts_;
};

}  // namespace orrery::planner
