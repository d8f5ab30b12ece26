// SPDX-License-Identifier: Apache-2.0
// The search as the command line runs it, with progress on stderr, and its result as a report.
#pragma once

#include "cli/prediction.h"
#include "cli/report.h"
#include "planner/search.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace orrery::cli {

/// What a search is about, as users name it.
struct SearchInputs {
  std::string model, cluster, calibration;
  std::int64_t num_nodes = 0;  // of the cluster, the first ones; 0: all
  BatchShape batch;
  std::string load = "balanced", sequences;
  std::string framework = {};  // empty: nobody's
};

/// A plan without its strategy: that of the kind of device. `calibration`: null where nothing is to be timed.
/// Throws: ConfigError, also for more nodes than there are, or a part of a fabric that is whole or nothing.
Plan plan_to_search(const InputOptions& options, const SearchInputs& inputs,
                    Loaded<costmodel::Calibration>* calibration);

/// What a search is asked for beside the best plan.
struct SearchWishes {
  bool simulate = false;                     // the best plans run on SimGrid, in worker processes
  std::optional<Seconds> time_budget = {};   // after which no new plans are looked at
  std::vector<std::string> conditions = {};  // planner/conditions.h
  std::optional<Bytes> memory_limit = {};    // of a device, less than it has
  planner::Objective objective = planner::Objective::time;
};

/// "1234 evaluated, 56 pruned, best 9.87 s, gap 3.1 %": as far as it is known.
std::string detail_of(const planner::Progress& progress);

/// One space, searched again and again under limits of memory and weights of time and work.
class Searcher {
 public:
  /// All must outlive it. Throws: ConfigError: a condition that means nothing here.
  Searcher(const Plan& base, const Loaded<costmodel::Calibration>& calibration, const SearchWishes& wishes);

  std::variant<planner::SearchResult, planner::Infeasible> search(std::optional<Bytes> memory_limit,
                                                                  const planner::StepWeights& weights) const;
  /// The same, with the wishes that have to go for anything to run.
  planner::Infeasible blame_wishes(planner::Infeasible infeasible) const;

 private:
  planner::SearchProblem problem(std::optional<Bytes> memory_limit, const planner::StepWeights& weights) const;

  const Plan& base_;
  const Loaded<costmodel::Calibration>& calibration_;
  const SearchWishes& wishes_;
  planner::Domains domains_;
  std::shared_ptr<const costmodel::CostModel> cost_model_;
};

/// Searches the space of `base`, whose strategy gives what is not searched.
/// Throws: ConfigError: a condition that means nothing here.
std::variant<planner::SearchResult, planner::Infeasible> search_plans(const Plan& base,
                                                                      const Loaded<costmodel::Calibration>& calibration,
                                                                      const SearchWishes& wishes = {});

/// What was searched, what each tier did, and what that proves.
void add_certificate(Report& report, const Certificate& certificate);

/// Says on stderr that a limit above what the device has is none.
void note_limit(std::optional<Bytes> limit, const Device& device);

/// Throws: ConfigError if nobody states a price or a carbon intensity, where that is what `objective` is about.
void require_known(const Plan& base, planner::Objective objective);

/// The best plan with the 80 % intervals of its step time and, by what `catalog` knows, of its memory, the `num_rows`
/// best in a table, what was searched, and what that proves.
Report plan_report(const Plan& best, const planner::SearchResult& result, std::int64_t num_rows,
                   const costmodel::Calibration& calibration, const std::filesystem::path& catalog);

/// What was made least, if not time, and energy, price and carbon of a step, by the power of `calibration`.
void add_objective(Report& report, const Plan& best, const planner::RankedPlan& found, planner::Objective objective,
                   const costmodel::Calibration& calibration);

/// Says on stderr why nothing is possible, in JSON on stdout if asked; returns the exit code.
int report_infeasible(const planner::Infeasible& infeasible, bool json);

}  // namespace orrery::cli
