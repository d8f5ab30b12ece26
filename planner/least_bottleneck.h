// SPDX-License-Identifier: Apache-2.0
// Layers cut into stages by dynamic programming over (stage, first layer), so that the stage that takes longest takes
// the least, and of all such cuts the sum is least. What a stage takes depends on what has to be recomputed to fit, and
// that is costly to ask. So times without recomputation, which are cheap and at most as long, are known first: a stage
// is asked about only if it could be part of a cut no worse than a limit, and the limit starts at the least that there
// is without recomputation and grows until something fits.
#pragma once

#include "base/units.h"

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

namespace orrery::planner {

class LeastBottleneck {
 public:
  /// Of the units [first, end), at least what they take on `stage`, but for small differences; infinite where they may
  /// not be there. The same for all stages between the ends.
  using Least = std::function<Seconds(std::int64_t stage, std::int64_t first, std::int64_t end)>;
  /// What they take in the fastest way that fits, if that is at most `most`.
  using Fitting =
      std::function<std::optional<Seconds>(std::int64_t stage, std::int64_t first, std::int64_t end, Seconds most)>;

  /// Requires: num_units >= 1, num_stages >= 1.
  LeastBottleneck(std::int64_t num_units, std::int64_t num_stages, const Least& least);

  /// Where each stage ends; nothing: no cut fits. Of equal cuts the one with the shortest first stages. Only the first
  /// and the last stage may be without units.
  std::vector<std::int64_t> ends(const Fitting& fitting) const;

 private:
  /// Of a stage and a first unit: the best that the stages from there on can have, and where the stage then ends.
  struct Pass {
    std::vector<Seconds> best;
    std::vector<std::int64_t> end;
  };
  template <class Combine>
  Pass run(Seconds most, const Fitting& fitting, Combine combine) const;

  bool is_end(std::int64_t stage) const { return stage == 0 || stage + 1 == num_stages_; }
  Seconds least(std::int64_t stage, std::int64_t first, std::int64_t end) const;
  std::size_t at(std::int64_t stage, std::int64_t unit) const {
    return static_cast<std::size_t>(stage * (num_units_ + 1) + unit);
  }

  const std::int64_t num_units_, num_stages_;
  std::array<std::vector<Seconds>, 3> least_;  // of the first stage, those between, the last: by first unit and end
  std::vector<Seconds> before_, behind_;       // by stage and its first unit: the longest of the other stages, at least
};

}  // namespace orrery::planner
