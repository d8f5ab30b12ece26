// SPDX-License-Identifier: Apache-2.0
#include "planner/nearest_legal.h"

#include "base/suggestion.h"
#include "planner/dials.h"
#include "planner/divisors.h"
#include "planner/even_layout.h"
#include "program/layout_text.h"
#include "program/names.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <map>
#include <set>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace orrery::planner {
namespace {

/// Keys that the rules of `key` speak of, itself first.
std::vector<std::string> related(const std::string& key) {
  static const std::map<std::string, std::vector<std::string>> relations = {
      {"tp", {"sp", "cp", "pp"}},
      {"cp", {"cp_kind", "tp", "pp"}},
      {"pp", {"vpp", "tp", "cp", "ep", "etp"}},
      {"vpp", {"pp"}},
      {"ep", {"etp", "pp"}},
      {"etp", {"ep", "pp"}},
      {"schedule", {"vpp", "pp", "micro_batch", "global_batch"}},
      {"global_batch", {"tp", "cp", "pp"}},
      {"micro_batch", {"global_batch"}},
      {"stages", {"pp", "vpp", "mtp"}},
      {"dispatcher", {"ep"}},
      {"overlap/dp_buckets", {"zero_dense", "zero_expert"}},
      {"overlap/tp", {"sp"}},
      {"overlap/ep_batch_level", {"ep", "schedule"}},
      {"precision", {"fp8_recipe", "tp", "etp"}},
      {"optimizer", {"zero_dense", "zero_expert"}},
  };
  std::vector<std::string> keys{key};
  const auto found = relations.find(key);
  if (found != relations.end()) keys.insert(keys.end(), found->second.begin(), found->second.end());
  return keys;
}

/// What may be left of the rules once one of them is obeyed, from the best case to the last that is worth saying.
constexpr std::size_t kNothingOfTheKeyAndNothingNew = 0;
constexpr std::size_t kNothingOfTheKey = 1;  // a rule that was hidden behind the broken one may blame another
constexpr std::size_t kNothingButOldRulesOfTheKey = 2;
constexpr std::size_t kNumLeft = 3;

/// The values of a key that leave so much: each value stands at every case that it is good for.
using Cures = std::array<std::vector<std::string>, kNumLeft>;

/// Of a batch size only so many values on either side are tried: the multiples that are legal lie closer on all but the
/// largest clusters, and each value is a call of the checker.
constexpr std::int64_t kFarthest = std::int64_t{1} << 14;

/// A rule without the numbers of one case: "expected a divisor of  (number of experts)".
std::string rule_of(const Violation& violation) {
  std::string rule = violation.expected.substr(0, violation.expected.find(", got"));
  std::erase_if(rule, [](char c) { return c >= '0' && c <= '9'; });
  return rule;
}

class Search {
 public:
  Search(const Plan& plan, const Violation& broken) : plan_(plan), key_(broken.key), rule_(rule_of(broken)) {
    for (const Violation& violation : check({plan.strategy, plan.batch})) {
      broken_.insert(rule_of(violation));
      if (violation.key == key_) of_the_key_.insert(rule_of(violation));
    }
  }

  /// Of a degree the nearest value on either side, of a choice all.
  Cures cures_of(const std::string& key) const {
    Cures found;
    if (const auto integer = integer_dials().find(key); integer != integer_dials().end()) {
      Attempt attempt{plan_.strategy, plan_.batch};
      const std::int64_t now = integer->second(attempt), most = most_of(key);
      const std::int64_t below = std::min(now - 1, most), above = std::max<std::int64_t>(now, 0) + 1;
      nearest(*integer, below, std::max<std::int64_t>(1, below - kFarthest), -1, found);
      nearest(*integer, above, std::min(most, above + kFarthest), 1, found);
    } else if (const auto choice = choice_dials().find(key); choice != choice_dials().end()) {
      for (const Choice& one : choice->second) {
        Attempt attempt{plan_.strategy, plan_.batch};
        one.choose(attempt.strategy);
        const auto good = good_for(key, std::move(attempt));
        for (std::size_t left = 0; left < kNumLeft; ++left) {
          if (good[left]) found[left].push_back(one.name);
        }
      }
    }
    return found;
  }

  /// Two degrees at once, each a divisor of the ranks, of the related ones: the nearest pair that leaves least.
  std::vector<std::string> pairs() const {
    struct Pair {
      std::size_t left = kNumLeft;
      double distance = 0.0;
      std::string text;
      bool operator<(const Pair& other) const {
        return left != other.left ? left < other.left : distance < other.distance;
      }
    };
    Pair best;
    const std::vector<std::string> keys = related(key_);
    for (std::size_t i = 0; i < keys.size(); ++i) {
      for (std::size_t j = i + 1; j < keys.size(); ++j) {
        const auto first = integer_dials().find(keys[i]), second = integer_dials().find(keys[j]);
        if (first == integer_dials().end() || second == integer_dials().end()) continue;
        for (const std::int64_t a : divisors(plan_.num_ranks(), most_of(keys[i]))) {
          for (const std::int64_t b : divisors(plan_.num_ranks(), most_of(keys[j]))) {
            Attempt attempt{plan_.strategy, plan_.batch};
            Pair pair{.distance = turn(first->second(attempt), a) + turn(second->second(attempt), b),
                      .text = fmt::format("{} {} and {} {}", keys[i], a, keys[j], b)};
            if (keys[i] == "tp" || keys[j] == "tp") pair.text += follow_with_sp(attempt.strategy);
            const auto good = good_for(keys[i], std::move(attempt));
            pair.left = static_cast<std::size_t>(std::ranges::find(good, true) - good.begin());
            if (pair.left < kNumLeft && pair < best) best = std::move(pair);
          }
        }
      }
    }
    if (best.text.empty()) return {};
    return {best.text};
  }

  /// Of a rule about stages: modules without one of them, or else even stages.
  std::vector<std::string> layouts() const {
    std::set<std::set<RecomputeModule>> tried;
    std::vector<std::string> out;
    for (const StageLayout& blamed : plan_.strategy.stages) {
      if (!key_.ends_with("/recompute") || !tried.insert(blamed.recompute).second) continue;
      for (const RecomputeModule module : blamed.recompute) {
        Attempt attempt{plan_.strategy, plan_.batch};
        for (StageLayout& stage : attempt.strategy.stages) stage.recompute.erase(module);
        if (good_for_laid(key_, attempt)[kNothingOfTheKeyAndNothingNew]) {
          out.push_back(fmt::format("recompute without {}", name_of(module)));
        }
      }
    }
    if (!out.empty()) return out;
    Attempt attempt{plan_.strategy, plan_.batch};
    if (!attempt.strategy.stages.empty() && attempt.strategy.num_stages() <= most_stages(plan_.model.num_layers())) {
      lay_evenly(attempt.strategy, plan_.model);
      for (StageLayout& stage : attempt.strategy.stages) stage.num_recompute_layers.reset();
      if (good_for_laid(key_, attempt)[kNothingOfTheKeyAndNothingNew]) {
        out.push_back(fmt::format("stages \"{}\"", orrery::layout_text(attempt.strategy.stages)));
      }
    }
    return out;
  }

 private:
  /// Turns what goes with tp because neither is legal without the other. " with sp", " without sp" or nothing.
  std::string_view follow_with_sp(Strategy& s) const {
    s.sp = s.tp > 1 && (s.sp || plan_.model.moe.has_value());
    return s.sp == plan_.strategy.sp ? "" : s.sp ? " with sp" : " without sp";
  }

  /// How far that is, in doublings.
  static double turn(std::int64_t& degree, std::int64_t value) {
    const double before = std::log2(static_cast<double>(std::max<std::int64_t>(degree, 1)));
    degree = value;
    return std::abs(std::log2(static_cast<double>(value)) - before);
  }

  std::vector<Violation> check(const Attempt& attempt) const {
    return violations(plan_.model, attempt.strategy, attempt.batch, plan_.num_ranks());
  }

  /// No legal value is above it. Degrees divide the ranks, stages have something each, a micro-batch is part of a
  /// batch.
  std::int64_t most_of(const std::string& key) const {
    if (key == "vpp") return most_stages(plan_.model.num_layers());
    const Strategy& s = plan_.strategy;
    if (key == "micro_batch") {
      return plan_.batch.global_batch / std::max<std::int64_t>(1, plan_.num_ranks() / (s.tp * s.cp * s.pp));
    }
    if (key == "global_batch") return std::int64_t{1} << 30;  // of plan/1
    return plan_.num_ranks();
  }

  /// `turned`: the key whose value is tried. One that breaks another rule of its own is good for nothing.
  std::array<bool, kNumLeft> good_for(const std::string& turned, Attempt attempt) const {
    if (!lay_stages(plan_, attempt.strategy)) return {};
    return good_for_laid(turned, attempt);
  }

  std::array<bool, kNumLeft> good_for_laid(const std::string& turned, const Attempt& attempt) const {
    std::array<bool, kNumLeft> good{};
    good.fill(true);
    for (const Violation& violation : check(attempt)) {
      const std::string rule = rule_of(violation);
      const bool of_the_key = violation.key == key_ || of_the_key_.contains(rule), is_new = !broken_.contains(rule);
      if (of_the_key || is_new) good[kNothingOfTheKeyAndNothingNew] = false;
      if (of_the_key) good[kNothingOfTheKey] = false;
      if (is_new) good[kNothingButOldRulesOfTheKey] = false;
      if (rule == rule_ || (is_new && violation.key == turned)) good.fill(false);
    }
    return good;
  }

  /// From `first` to `last`, up (`step` 1) or down (-1): for each case the first value that is good for it.
  void nearest(const std::pair<const std::string, IntegerDial>& of, std::int64_t first, std::int64_t last,
               std::int64_t step, Cures& found) const {
    const auto& [key, dial] = of;
    std::array<bool, kNumLeft> done{};
    Attempt attempt{plan_.strategy, plan_.batch};
    for (std::int64_t value = first; (last - value) * step >= 0; value += step) {
      dial(attempt) = value;
      const std::string with(key == "tp" ? follow_with_sp(attempt.strategy) : std::string_view());
      const auto good = good_for(key, attempt);
      for (std::size_t left = 0; left < kNumLeft; ++left) {
        if (good[left] && !std::exchange(done[left], true)) found[left].push_back(std::to_string(value) + with);
      }
      if (done[kNothingOfTheKeyAndNothingNew]) return;
    }
  }

  const Plan& plan_;
  const std::string key_, rule_;
  std::set<std::string> broken_, of_the_key_;  // rules: all, and those that blame the key, which may blame others next
};

}  // namespace

std::vector<std::string> nearest_legal(const Plan& plan, const Violation& broken) {
  if (broken.key == "dp") {  // no dial: it follows from the others
    const Strategy& s = plan.strategy;
    return {fmt::format("dp {} or none", plan.num_ranks() / (s.tp * s.cp * s.pp))};
  }
  const Search search(plan, broken);
  std::array<std::vector<std::string>, kNumLeft> out;
  for (const std::string& key : related(broken.key)) {
    const Cures found = search.cures_of(key);
    for (std::size_t left = 0; left < kNumLeft; ++left) {
      if (!found[left].empty()) out[left].push_back(fmt::format("{} {}", key, fmt::join(found[left], " or ")));
    }
  }
  for (std::vector<std::string>& cures : out) {
    if (!cures.empty()) return std::move(cures);
  }
  return broken.key.starts_with("stages") ? search.layouts() : search.pairs();
}

}  // namespace orrery::planner
