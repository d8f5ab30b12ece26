// SPDX-License-Identifier: Apache-2.0
#include "planner/explain/difference.h"

#include "base/check.h"
#include "base/parallel.h"
#include "planner/explain/dimensions.h"
#include "program/legality.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <mutex>
#include <optional>

namespace orrery::planner {
namespace {

/// Dimensions of one player, as bits into the list of those that differ.
using Members = std::uint64_t;

class Players {
 public:
  Players(const Plan& plan, const Strategy& other) : plan_(plan), mix_(plan.strategy, other) {
    for (std::size_t i = 0; i < mix_.dimensions().size(); ++i) players_.push_back(Members{1} << i);
    // With many dimensions of their own, each kind is one player from the start: pairs are then looked for among few.
    if (players_.size() > 16) merge_kinds(kMaxPlayers);
    while (merge_coupled()) {
    }
    merge_kinds(kMaxPlayers);
    while (merge_coupled()) {
    }
  }

  std::size_t size() const { return players_.size(); }

  /// Requires: legal, as all are once coupled dimensions are merged.
  Strategy strategy_of(std::uint64_t coalition) const { return *mixed(coalition); }

  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const Members members : players_) {
      std::string name;
      for (std::size_t i = 0; i < mix_.dimensions().size(); ++i) {
        if ((members >> i & 1) == 0) continue;
        if (!name.empty()) name += ", ";
        name += mix_.change_of(i);
      }
      names.push_back(name);
    }
    return names;
  }

 private:
  std::optional<Strategy> mixed(std::uint64_t coalition) const {
    Members from_other = 0;
    for (std::size_t i = 0; i < players_.size(); ++i) {
      if ((coalition >> i & 1) != 0) from_other |= players_[i];
    }
    return mix_.strategy(from_other);
  }

  bool is_legal(std::uint64_t coalition) const {
    const std::optional<Strategy> strategy = mixed(coalition);
    return strategy && violations(plan_.model, *strategy, plan_.batch, plan_.num_ranks()).empty();
  }

  void merge(std::size_t into, std::size_t gone) {
    players_[into] |= players_[gone];
    players_.erase(players_.begin() + static_cast<std::ptrdiff_t>(gone));
  }

  /// The smallest coalition that is not legal gets the first player who is missing in the smallest legal one around it,
  /// as one with its own last. Whether there was one.
  bool merge_coupled() {
    const std::uint64_t all = (std::uint64_t{1} << players_.size()) - 1;
    std::optional<std::uint64_t> broken;
    for (std::uint64_t coalition = 1; coalition < all; ++coalition) {
      if (broken && std::popcount(coalition) >= std::popcount(*broken)) continue;
      if (!is_legal(coalition)) broken = coalition;
    }
    if (!broken) return false;
    std::uint64_t around = all;
    for (std::uint64_t coalition = *broken + 1; coalition < all; ++coalition) {
      const bool contains = (coalition & *broken) == *broken;
      if (contains && std::popcount(coalition) < std::popcount(around) && is_legal(coalition)) around = coalition;
    }
    const auto last = static_cast<std::size_t>(std::bit_width(*broken) - 1);
    const auto missing = static_cast<std::size_t>(std::countr_zero(around & ~*broken));
    merge(std::min(last, missing), std::max(last, missing));
    return true;
  }

  /// Players of one kind become one, those of the last kinds first, until there are at most `most`; then the last two.
  void merge_kinds(int most) {
    const auto kind_of = [&](std::size_t player) {
      return mix_.dimensions()[static_cast<std::size_t>(std::countr_zero(players_[player]))]->kind;
    };
    while (static_cast<int>(players_.size()) > most) {
      std::size_t into = players_.size() - 2, gone = players_.size() - 1;
      for (std::size_t i = players_.size() - 1; i > 0; --i) {
        if (kind_of(i - 1) != kind_of(i)) continue;
        into = i - 1;
        gone = i;
        break;
      }
      merge(into, gone);
    }
  }

  const Plan& plan_;
  StrategyMix mix_;
  std::vector<Members> players_;
};

}  // namespace

std::int64_t Difference::num_too_large() const {
  return std::count_if(coalitions.begin(), coalitions.end(), [](const Coalition& c) { return !c.fits; });
}

Difference difference(const Plan& plan, const Strategy& other, const StepTimer& timer,
                      const std::function<void(std::int64_t, std::int64_t)>& on_progress) {
  const Players players(plan, other);
  Difference out{.players = players.names(), .coalitions = {}, .worth = {}};
  out.coalitions.resize(std::size_t{1} << players.size());
  const auto count = static_cast<std::int64_t>(out.coalitions.size());
  const FitChecker checker(plan);
  std::mutex mutex;
  std::int64_t num_done = 0;
  parallel_for(count, [&](std::int64_t i, int) {
    const Strategy strategy = players.strategy_of(static_cast<std::uint64_t>(i));
    const FitCheck check = checker.check(strategy, plan.batch, plan.num_ranks());
    CHECK(check.legal, check.why);
    out.coalitions[static_cast<std::size_t>(i)] = {
        .time = timer.time(strategy), .memory = check.memory, .fits = check.fits};
    const std::lock_guard lock(mutex);
    ++num_done;
    if (on_progress) on_progress(num_done, count);
  });
  std::vector<std::int64_t> nanoseconds;
  for (const Coalition& coalition : out.coalitions) {
    nanoseconds.push_back(std::llround(coalition.time.in(unit::nanosecond)));
  }
  out.worth = shapley(nanoseconds);
  return out;
}

}  // namespace orrery::planner
