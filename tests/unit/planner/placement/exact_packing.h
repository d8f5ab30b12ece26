// SPDX-License-Identifier: Apache-2.0
// The lightest fullest rank that there is, by branch and bound over all ways to give each rank as many experts. Shares
// nothing with what it judges.
#pragma once

#include <algorithm>
#include <functional>
#include <numeric>
#include <vector>

namespace orrery::planner::testing {

class ExactPacking {
 public:
  ExactPacking(std::vector<double> loads, std::size_t num_ranks)
      : loads_(std::move(loads)), of_rank_(num_ranks, 0.0), room_(num_ranks, loads_.size() / num_ranks) {
    std::sort(loads_.begin(), loads_.end(), std::greater<>());
    best_ = std::accumulate(loads_.begin(), loads_.end(), 0.0);
    place(0, 0.0);
  }

  /// Load of the fullest rank.
  double fullest() const { return best_; }

 private:
  void place(std::size_t expert, double fullest) {
    if (fullest >= best_) return;
    if (expert == loads_.size()) {
      best_ = fullest;
      return;
    }
    for (std::size_t rank = 0; rank < of_rank_.size(); ++rank) {
      if (room_[rank] == 0) continue;
      const bool is_untouched = of_rank_[rank] == 0.0;
      of_rank_[rank] += loads_[expert], --room_[rank];
      place(expert + 1, std::max(fullest, of_rank_[rank]));
      of_rank_[rank] -= loads_[expert], ++room_[rank];
      if (is_untouched) return;  // the empty ranks behind it are no other choice
    }
  }

  std::vector<double> loads_, of_rank_;
  std::vector<std::size_t> room_;
  double best_ = 0.0;
};

}  // namespace orrery::planner::testing
