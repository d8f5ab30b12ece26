// SPDX-License-Identifier: Apache-2.0
#include "planner/no_plan.h"

#include "base/units_format.h"
#include "planner/on_demand.h"
#include "planner/strategy_text.h"
#include "program/legality.h"
#include "program/schedule.h"

#include <algorithm>
#include <array>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace orrery::planner {
namespace {

/// Choices that are made together, after others.
struct Group {
  std::string dimensions;  // for people
  /// Calls its argument with each choice for a strategy in which everything before is chosen.
  std::function<void(Strategy, const std::function<void(Strategy)>&)> each;
};

/// What a search leaves out although no rule forbids it: it would be as another strategy that is searched.
std::optional<Violation> repeats_another(const Strategy& s) {
  if (s.pp == 1 && s.schedule != Schedule::one_f_one_b && s.schedule != Schedule::gpipe) {
    return Violation{.key = "schedule",
                     .expected = fmt::format("with pp 1 only 1f1b and gpipe are searched, since a rank alone has "
                                             "nobody whose waiting {} would shorten",
                                             name_of(s.schedule)),
                     .hint = "ask for a pp above 1, or for schedule=1f1b"};
  }
  if (s.overlap.tp && s.tp == 1) {
    return Violation{.key = "overlap.tp",
                     .expected = "it is searched where tp is above 1, since else nothing is gathered",
                     .hint = "ask for a tp above 1"};
  }
  if (s.overlap.shared_expert && s.ep == 1) {
    return Violation{.key = "overlap.shared_expert",
                     .expected = "it is searched where ep is above 1, since else no row travels beside shared experts",
                     .hint = "ask for an ep above 1"};
  }
  if (s.overlap.delayed_wgrad && s.tp == 1 && (s.ep == 1 || !runs_pairs(s))) {
    return Violation{.key = "overlap.delayed_wgrad",
                     .expected =
                         "it is searched where tp is above 1, or ep beside pairs of forward and backward, since "
                         "else weight gradients have nothing to hide",
                     .hint = "ask for a tp above 1"};
  }
  return std::nullopt;
}

class Reason {
 public:
  Reason(const Domains& domains, const SearchProblem& problem) : d_(domains), problem_(problem) {}

  /// Goes through the groups until one leaves nothing.
  Infeasible find() {
    std::vector<Strategy> left = bases_of(d_);
    for (Strategy& base : left) start(base);
    for (const Group& group : {degrees(), pipelines(), operators(), sharding()}) {
      std::vector<Strategy> next;
      Tally tally;
      for (const Strategy& before : left) {
        group.each(before, [&](const Strategy& s) {
          if (count(s, tally)) next.push_back(s);
        });
      }
      if (next.empty()) return because(group, tally);
      left = distinct(std::move(next));
    }
    return {.reason = "no strategy is left: what is asked for is legal, and each time as another that is not asked for",
            .hint = "ask for less",
            .saw_everything = true};
  }

 private:
  struct Rule {
    std::int64_t num_broken = 0;
    Violation example;
  };

  /// Broken rules of the choices that break fewest.
  struct Tally {
    std::int64_t num_candidates = 0;
    std::int64_t fewest = std::numeric_limits<std::int64_t>::max();
    std::map<std::string, Rule> rules;
  };

  /// Rules that hide others count as all of those and themselves.
  static constexpr std::int64_t kHidesOthers = 100;

  void start(Strategy& s) const {
    s.schedule = Schedule::one_f_one_b;
    s.overlap = {};
    s.vpp = s.num_optimizer_instances = 1;
    s.zero_dense = s.zero_expert = 0;
    s.offload_optimizer = s.offload_activations = false;
    s.cp_kind = ContextParallel::all_gather;  // has the fewest rules
    s.dispatcher = Dispatcher::all_to_all;
  }

  bool fills_world(const Strategy& s) const {
    return problem_.num_ranks() % (s.tp * s.cp * s.pp) == 0 && problem_.num_ranks() % (s.etp * s.ep * s.pp) == 0;
  }

  /// Whether a choice is legal.
  bool count(Strategy s, Tally& tally) const {
    ++tally.num_candidates;
    const bool fills = fills_world(s);
    if (!fills && tally.fewest < kHidesOthers) return false;
    s.sp = s.tp > 1;
    s.stages = stages_of_layout(problem_.model, d_.layouts.front(), s);
    std::vector<Violation> broken = violations(problem_.model, s, problem_.batch, problem_.num_ranks());
    std::int64_t weight = std::ssize(broken);
    if (!fills) weight += kHidesOthers;
    if (broken.empty()) {
      auto repeated = repeats_another(s);
      if (!repeated) return true;
      broken.push_back(*std::move(repeated));
    }
    if (weight > tally.fewest) return false;
    if (std::exchange(tally.fewest, weight) > weight) tally.rules.clear();
    std::set<std::string> seen;  // two rules may blame one key
    for (Violation& violation : broken) {
      if (!seen.insert(violation.key).second) continue;
      Rule& rule = tally.rules[violation.key];
      if (rule.num_broken++ == 0) rule.example = std::move(violation);
    }
    return false;
  }

  static Infeasible because(const Group& group, const Tally& tally) {
    const auto most =
        std::ranges::max_element(tally.rules, {}, [](const auto& rule) { return rule.second.num_broken; });
    const auto& [key, rule] = *most;
    const std::string text =
        tally.fewest == 0
            ? fmt::format(
                  "no strategy is left: of {} ways to choose {}, {} are legal, and not searched, for example: {}",
                  tally.num_candidates, group.dimensions, rule.num_broken, rule.example.expected)
            : fmt::format(
                  "no strategy is legal: of {} ways to choose {}, the nearest to legal are {} that break a rule "
                  "about {}, for example: {}",
                  tally.num_candidates, group.dimensions, rule.num_broken, key, rule.example.expected);
    return {.reason = text, .hint = rule.example.hint, .saw_everything = true};
  }

  /// One of those that no later group tells apart: micro-batches count by their number.
  std::vector<Strategy> distinct(std::vector<Strategy> all) const {
    std::vector<Strategy> out;
    std::set<std::array<std::int64_t, 12>> seen;
    for (Strategy& s : all) {
      const std::array<std::int64_t, 12> key = {s.tp,
                                                s.cp,
                                                s.pp,
                                                s.ep,
                                                s.etp,
                                                problem_.batch.global_batch * s.tp * s.cp * s.pp / s.micro_batch,
                                                s.vpp,
                                                static_cast<std::int64_t>(s.schedule),
                                                s.overlap.ep_batch_level ? 1 : 0,
                                                static_cast<std::int64_t>(s.precision),
                                                static_cast<std::int64_t>(s.optimizer),
                                                s.capacity_factor ? 1 : 0};
      if (seen.insert(key).second) out.push_back(std::move(s));
    }
    return out;
  }

  Group degrees() const {
    return {"tp, cp, pp, ep, etp and micro_batch", [this](Strategy s, const auto& choose) {
              for (const std::int64_t tp : d_.tp) {
                for (const std::int64_t cp : d_.cp) {
                  for (const std::int64_t pp : d_.pp) {
                    for (const std::int64_t ep : d_.ep) {
                      for (const std::int64_t etp : d_.etp) {
                        for (const std::int64_t micro_batch : d_.micro_batch) {
                          s.tp = tp;
                          s.cp = cp;
                          s.pp = pp;
                          s.ep = ep;
                          s.etp = etp;
                          s.micro_batch = micro_batch;
                          choose(s);
                        }
                      }
                    }
                  }
                }
              }
            }};
  }

  Group pipelines() const {
    return {"schedule, vpp and overlap.ep_batch_level", [this](Strategy s, const auto& choose) {
              for (const Schedule schedule : d_.schedule) {
                for (const std::int64_t vpp : d_.vpp) {
                  for (const int pairs : d_.ep_batch_level) {
                    s.schedule = schedule;
                    s.vpp = vpp;
                    s.overlap.ep_batch_level = pairs != 0;
                    choose(s);
                  }
                }
              }
            }};
  }

  Group operators() const {
    return {"cp_kind, dispatcher and what overlaps", [this](Strategy s, const auto& choose) {
              for (const ContextParallel kind : d_.cp_kind) {
                for (const Dispatcher dispatcher : d_.dispatcher) {
                  for (const int tp : d_.overlap_tp) {
                    for (const int wgrad : d_.delayed_wgrad) {
                      for (const int shared : d_.shared_expert) {
                        s.cp_kind = kind;
                        s.dispatcher = s.ep == 1 ? Dispatcher::all_to_all : dispatcher;
                        s.overlap.tp = tp != 0;
                        s.overlap.delayed_wgrad = wgrad != 0;
                        s.overlap.shared_expert = shared != 0;
                        choose(s);
                      }
                    }
                  }
                }
              }
            }};
  }

  Group sharding() const {
    return {"zero_dense, zero_expert, num_optimizer_instances and overlap.dp_buckets",
            [this](Strategy s, const auto& choose) {
              for (const int dense : d_.zero_dense) {
                for (const int expert : d_.zero_expert) {
                  for (const std::int64_t instances : d_.num_optimizer_instances) {
                    for (const int buckets : d_.dp_buckets) {
                      s.zero_dense = dense;
                      s.zero_expert = expert;
                      s.num_optimizer_instances = instances;
                      s.overlap.dp_buckets = buckets != 0;
                      choose(s);
                    }
                  }
                }
              }
            }};
  }

  const Domains& d_;
  const SearchProblem& problem_;
};

}  // namespace

Infeasible nothing_is_legal(const Domains& domains, const SearchProblem& problem) {
  return Reason(domains, problem).find();
}

Infeasible nothing_fits(const Strategy& smallest, Bytes memory, const SearchProblem& problem, Bytes limit,
                        bool everything) {
  const Device& device = problem.cluster.groups.front().device;
  const bool is_less = device.memory && limit < *device.memory;
  return {.reason = fmt::format(
              "nothing fits{}: the smallest that was tried ({}) needs at least {} on its fullest rank, {} {} {}",
              everything ? "" : " of what was tried, which is not all", short_text(smallest), memory, device.name,
              is_less ? "may hold" : "has", limit),
          .hint = everything ? "use more devices, devices with more memory, or a shorter sequence"
                             : "search on with --time-budget, or use more devices or devices with more memory",
          .saw_everything = everything};
}

}  // namespace orrery::planner
