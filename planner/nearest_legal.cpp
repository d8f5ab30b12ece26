// SPDX-License-Identifier: Apache-2.0
#include "planner/nearest_legal.h"

#include "base/suggestion.h"
#include "planner/even_layout.h"
#include "program/names.h"

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace orrery::planner {
namespace {

/// What may be changed of a plan here.
struct Attempt {
  Strategy strategy;
  BatchShape batch;
};

using Integer = std::function<std::int64_t&(Attempt&)>;

/// Keys with a number.
const std::map<std::string, Integer>& integers() {
  static const auto field = [](std::int64_t Strategy::* member) {
    return [member](Attempt& attempt) -> std::int64_t& { return attempt.strategy.*member; };
  };
  static const std::map<std::string, Integer> kIntegers = {
      {"tp", field(&Strategy::tp)},
      {"pp", field(&Strategy::pp)},
      {"vpp", field(&Strategy::vpp)},
      {"cp", field(&Strategy::cp)},
      {"ep", field(&Strategy::ep)},
      {"etp", field(&Strategy::etp)},
      {"micro_batch", field(&Strategy::micro_batch)},
      {"num_optimizer_instances", field(&Strategy::num_optimizer_instances)},
      {"global_batch", [](Attempt& attempt) -> std::int64_t& { return attempt.batch.global_batch; }},
  };
  return kIntegers;
}

struct Choice {
  std::string name;
  std::function<void(Strategy&)> choose;
};

template <class E, std::size_t N>
std::vector<Choice> choices(const Named<E> (&names)[N], E Strategy::* member) {
  std::vector<Choice> out;
  for (const Named<E>& named : names) {
    out.push_back({fmt::format("\"{}\"", named.name), [=](Strategy& s) { s.*member = named.value; }});
  }
  return out;
}

template <class Set>
std::vector<Choice> on_or_off(Set set) {
  return {{"false", [=](Strategy& s) { set(s) = false; }}, {"true", [=](Strategy& s) { set(s) = true; }}};
}

std::vector<Choice> zero_stages(int Strategy::* member) {
  std::vector<Choice> out;
  for (int zero = 0; zero <= 3; ++zero) {
    out.push_back({std::to_string(zero), [=](Strategy& s) { s.*member = zero; }});
  }
  return out;
}

/// Keys with a choice.
const std::map<std::string, std::vector<Choice>>& all_choices() {
  static const std::map<std::string, std::vector<Choice>> kChoices = {
      {"sp", on_or_off([](Strategy& s) -> bool& { return s.sp; })},
      {"cp_kind", choices(kContextParallelNames, &Strategy::cp_kind)},
      {"zero_dense", zero_stages(&Strategy::zero_dense)},
      {"zero_expert", zero_stages(&Strategy::zero_expert)},
      {"schedule", choices(kScheduleNames, &Strategy::schedule)},
      {"dispatcher", choices(kDispatcherNames, &Strategy::dispatcher)},
      {"overlap/dp_buckets", on_or_off([](Strategy& s) -> bool& { return s.overlap.dp_buckets; })},
      {"overlap/tp", on_or_off([](Strategy& s) -> bool& { return s.overlap.tp; })},
      {"overlap/ep_batch_level", on_or_off([](Strategy& s) -> bool& { return s.overlap.ep_batch_level; })},
      {"overlap/shared_expert", on_or_off([](Strategy& s) -> bool& { return s.overlap.shared_expert; })},
      {"precision", choices(kFloatNames, &Strategy::precision)},
      {"fp8_recipe", choices(kFp8RecipeNames, &Strategy::fp8_recipe)},
      {"optimizer", choices(kOptimizerNames, &Strategy::optimizer)},
      {"master_dtype", choices(kFloatNames, &Strategy::master_dtype)},
      {"moment_dtype", choices(kFloatNames, &Strategy::moment_dtype)},
      {"grad_dtype", choices(kFloatNames, &Strategy::grad_dtype)},
      {"grad_wire_dtype", choices(kFloatNames, &Strategy::grad_wire_dtype)},
      {"mtp", choices(kMtpNames, &Strategy::mtp)},
      {"order", {{fmt::format("\"{}\"", Strategy().order), [](Strategy& s) { s.order = Strategy().order; }}}},
  };
  return kChoices;
}

/// Keys that the rules of `key` speak of, itself first.
std::vector<std::string> related(const std::string& key) {
  static const std::map<std::string, std::vector<std::string>> kRelated = {
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
  const auto found = kRelated.find(key);
  if (found != kRelated.end()) keys.insert(keys.end(), found->second.begin(), found->second.end());
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
    if (const auto integer = integers().find(key); integer != integers().end()) {
      found = nearest(integer->second, allowed);
    } else if (const auto choice = all_choices().find(key); choice != all_choices().end()) {
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

  /// `attempt` may differ from the plan in the number of its stages.
  bool cures(Attempt attempt, Left allowed) const {
    Strategy& s = attempt.strategy;
    const bool relaid = s.num_stages() != plan_.strategy.num_stages() || s.mtp != plan_.strategy.mtp;
    if (relaid && (s.stages.empty() || s.num_stages() < 1 || s.num_stages() > plan_.model.num_layers())) return false;
    if (relaid) lay_evenly(s, plan_.model);
    const std::vector<Violation> left = check(attempt);
    return std::none_of(left.begin(), left.end(), [&](const Violation& violation) {
      const std::string rule = rule_of(violation);
      if (rule == rule_) return true;
      if (violation.key == key_ && allowed != Left::not_the_rule) return true;
      return !broken_.contains(rule) && allowed != Left::nothing_of_the_key;
    });
  }

  std::vector<std::string> nearest(const Integer& field, Left allowed) const {
    Attempt attempt{plan_.strategy, plan_.batch};
    std::int64_t& value = field(attempt);
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
