// SPDX-License-Identifier: Apache-2.0
// What a search has not scanned yet, by bounds: choices of operators at first, with one bound for all of their
// pipelines; those that are among the smallest are taken apart into their pipelines, each with a bound of its own. So
// the costlier bounds are asked only where they decide, and operators are scanned no further than their best pipelines.
#pragma once

#include "planner/pipeline_bound.h"

#include <cstddef>
#include <set>
#include <tuple>
#include <vector>

namespace orrery::planner {

class Frontier {
 public:
  /// A pipeline of a choice of operators.
  struct Entry {
    std::size_t operators = 0;
    PipelineChoice pipeline;
  };

  /// `bounds`: of each choice of operators.
  explicit Frontier(const std::vector<Seconds>& bounds);

  bool empty() const { return queue_.empty(); }
  Seconds least() const { return std::get<0>(*queue_.begin()); }
  /// Choices of operators that are here, whole or in part, with a bound below `limit`.
  std::set<std::size_t> operators_below(Seconds limit) const;

  /// Takes the first choices of operators that are whole, at most `most`; nothing if the smallest bound is that of a
  /// pipeline, which can be scanned.
  std::vector<std::size_t> take_whole(Seconds limit, std::size_t most);
  /// Puts the pipelines of a choice in its place. One without a bound below `limit` is left out.
  void put(std::size_t operators, const std::vector<BoundedPipeline>& pipelines, Seconds limit);
  /// Takes the pipelines with the smallest bounds, at most `most`, until a choice of operators that is whole comes
  /// first.
  std::vector<Entry> take_pipelines(Seconds limit, std::size_t most);

 private:
  static constexpr std::ptrdiff_t kWhole = -1;
  using Key = std::tuple<Seconds, std::size_t, std::ptrdiff_t>;  // bound, operators, and which of their pipelines
  std::vector<std::vector<PipelineChoice>> pipelines_;           // by operators that were taken apart
  std::set<Key> queue_;
};

}  // namespace orrery::planner
