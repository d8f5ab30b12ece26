// SPDX-License-Identifier: Apache-2.0
// The search for the fastest plan that fits, by branch and bound: choices of operators, then pipelines, then sharding
// and recomputation; each level has a bound, and what has one above a time that was found is thrown away. What is left
// goes through tiers, each slower and more faithful than the one before:
//     bounds and memory (all) -> lower bound and closed form (the best by bound) -> analytic interpreter -> simulation
// The certificate says how far the best analytic time can be above that of a plan that was not run: the gap to the
// smallest bound among them. Interpreters are handed in, so this knows no simulator.
#pragma once

#include "costmodel/cost_model.h"
#include "planner/domains.h"
#include "planner/objective.h"
#include "program/load_model.h"
#include "program/plan.h"
#include "program/sequence_model.h"
#include "traces/interpreter.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace orrery::planner {

struct SearchProblem {
  const Model& model;
  const Cluster& cluster;
  BatchShape batch;
  LoadModel load = BalancedLoad{};
  SequenceModel sequences = FixedLengths{};
  std::optional<Bytes> memory_limit = {};        // of a device; less than it has
  std::vector<DeviceIndex> device_of_rank = {};  // in order, of each node as many; empty: as orders say

  ExpertPlacement experts = {};  // of every plan
  std::string framework = {};    // that trains them, whose memory counts (Plan)

  StepWeights weights = {};  // of what is made least; the step time

  std::int64_t num_ranks() const {
    return device_of_rank.empty() ? cluster.num_devices() : static_cast<std::int64_t>(device_of_rank.size());
  }
};

struct SearchLimits {
  /// Families that are looked into before no further operators are scanned; with a time budget any number.
  std::int64_t num_families = 300;
  std::int64_t num_refined = 1024;  // plans that get the lower bound and the closed form
  std::int64_t num_analytic = 24;   // plans that the analytic interpreter runs: the fastest by closed form,
  std::int64_t num_closing = 8;     // and those with the smallest bounds
  std::int64_t num_reordered = 4;   // plans that it runs in another order of ranks: those that gain most by closed form
  std::int64_t num_simulated = 4;   // plans that the simulator runs
  std::int64_t num_seeds = 4;       // plans of the plain part that are run before anything is scanned
  /// A time that somebody has: plans that cannot be faster are not looked at, and if none is, that is no failure.
  std::optional<Seconds> to_beat = {};
  /// Wall time after which no new plans are looked at, by any tier, once there is an answer; it then depends on the
  /// machine.
  std::optional<Seconds> time_budget;
};

/// What a certificate says of the first dimension of a space, and mostly of all: how much of it the search saw.
inline constexpr std::string_view kSawEverything = "exhaustive", kSawAPart = "in part, as bounds order it",
                                  kNoBoundHolds = "heuristic: no bound holds";

/// A strategy with what each tier that saw it predicts, the most faithful last.
struct RankedPlan {
  Strategy strategy;
  std::vector<Prediction> predictions;
  std::vector<std::string> extrapolated;  // names of ops whose time lies outside what was measured
  Activities active = {};                 // of the mean device in the analytic tier, where work counts
};

struct SearchResult {
  /// Best first: simulated plans by their simulated time, then the others by their analytic time, or by what else is
  /// made least. Equal ones keep the order of the tier before, and in the end that of the space.
  std::vector<RankedPlan> ranked;  // empty only where there was a time to beat
  Certificate certificate;
  /// The smallest bound among plans that were not run, at most the best; none where no bound holds.
  std::optional<Seconds> least_undecided;
};

/// Nothing in the domain can run: the constraint that left nothing over.
struct Infeasible {
  std::string reason;
  std::string hint;
  bool saw_everything = false;  // of the domain; else nothing was found in as much as the limits of the search allow
};

struct Progress {
  std::string_view tier;
  std::int64_t done = 0, total = 0;
  std::int64_t evaluated = 0, pruned = 0;  // strategies that were looked at; families that were not, by their bounds
  std::optional<Seconds> best = {};        // least of what was run so far
  std::optional<double> gap = {};          // from there to the least bound that is left, of the best
};

/// Searches `domains` for the plans that are best by `problem.weights`, the fastest ones. `simulator` may be null; its
/// tier is then left out. `on_progress` is called by several threads, but never by two at once. Same input, same
/// answer, with any number of threads. Throws: ConfigError if an op is not calibrated, or the device's memory is
/// unknown; what the interpreters throw.
std::variant<SearchResult, Infeasible> search(const Domains& domains, const SearchProblem& problem,
                                              const costmodel::CostModel& cost_model, const Interpreter& analytic,
                                              const Interpreter* simulator, const SearchLimits& limits = {},
                                              const std::function<void(const Progress&)>& on_progress = {});

/// About what the best of a search is, without a run of an interpreter: the least closed form of what its scan
/// measures. None where nothing is found, or nothing below the time to beat. `analytic`: is not run.
std::optional<Seconds> least_closed_form(const Domains& domains, const SearchProblem& problem,
                                         const costmodel::CostModel& cost_model, const Interpreter& analytic,
                                         const SearchLimits& limits = {});

/// What a tier of a certificate proves, or that it is heuristic.
std::string_view claim_of(const Certificate::Tier& tier);

}  // namespace orrery::planner
