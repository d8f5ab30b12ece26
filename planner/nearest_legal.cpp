// SPDX-License-Identifier: Apache-2.0
#include "planner/nearest_legal.h"

#include "base/suggestion.h"
#include "planner/dials.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace orrery::planner {
namespace {

/// Keys that the rules of `key` speak of, itself first.
std::vector<std::string> related(const std::string& key) {
  static const std::map<std::string, std::vector<std::string>> relations = {
      {"tp", {"sp", "cp", "pp"}},
      {"cp", {"cp_kind", "tp", "pp"}},
      {"pp", {"tp", "cp", "ep", "etp"}},
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
enum class Left : std::uint8_t {
  nothing_of_the_key_and_nothing_new,
  nothing_of_the_key,  // a rule that was hidden behind the broken one may blame another
  not_the_rule
};

/// A rule without the numbers of one case: "expected a divisor of  (number of experts)".
std::string rule_of(const Violation& violation) {
  std::string rule = violation.expected.substr(0, violation.expected.find(", got"));
  std::erase_if(rule, [](char c) { return c >= '0' && c <= '9'; });
  return rule;
}

class Search {
 public:
  Search(const Plan& plan, const Violation& broken) : plan_(plan), key_(broken.key), rule_(rule_of(broken)) {
    for (const Violation& violation : check({plan.strategy, plan.batch})) broken_.insert(rule_of(violation));
  }

  std::optional<std::string> values_of(const std::string& key, Left allowed) const {
    std::vector<std::string> found;
    if (const auto integer = integer_dials().find(key); integer != integer_dials().end()) {
      found = nearest(integer->second, allowed);
    } else if (const auto choice = choice_dials().find(key); choice != choice_dials().end()) {
      for (const Choice& one : choice->second) {
        Attempt attempt{plan_.strategy, plan_.batch};
        one.choose(attempt.strategy);
        if (cures(attempt, allowed)) found.push_back(one.name);
      }
    }
    if (found.empty()) return std::nullopt;
    return fmt::format("{} {}", key, fmt::join(found, " or "));
  }

 private:
  std::vector<Violation> check(const Attempt& attempt) const {
    return violations(plan_.model, attempt.strategy, attempt.batch, plan_.num_ranks());
  }

  bool cures(Attempt attempt, Left allowed) const {
    if (!lay_stages(plan_, attempt.strategy)) return false;
    const std::vector<Violation> left = check(attempt);
    return std::none_of(left.begin(), left.end(), [&](const Violation& violation) {
      const std::string rule = rule_of(violation);
      if (rule == rule_) return true;
      if (violation.key == key_ && allowed != Left::not_the_rule) return true;
      return !broken_.contains(rule) && allowed != Left::nothing_of_the_key;
    });
  }

  std::vector<std::string> nearest(const IntegerDial& dial, Left allowed) const {
    Attempt attempt{plan_.strategy, plan_.batch};
    std::int64_t& value = dial(attempt);
    const std::int64_t now = value;
    const std::int64_t most = std::max(2 * now, plan_.num_ranks());
    std::vector<std::string> found;
    for (value = now - 1; value >= 1 && found.empty(); --value) {
      if (cures(attempt, allowed)) found.push_back(std::to_string(value));
    }
    for (value = std::max<std::int64_t>(now, 0) + 1; value <= most; ++value) {
      if (!cures(attempt, allowed)) continue;
      found.push_back(std::to_string(value));
      break;
    }
    return found;
  }

  const Plan& plan_;
  const std::string key_, rule_;
  std::set<std::string> broken_;  // rules
};

}  // namespace

std::vector<std::string> nearest_legal(const Plan& plan, const Violation& broken) {
  const Search search(plan, broken);
  for (const Left allowed : {Left::nothing_of_the_key_and_nothing_new, Left::nothing_of_the_key, Left::not_the_rule}) {
    std::vector<std::string> out;
    for (const std::string& key : related(broken.key)) {
      if (std::optional<std::string> values = search.values_of(key, allowed)) out.push_back(*std::move(values));
    }
    if (!out.empty()) return out;
  }
  return {};
}

}  // namespace orrery::planner
