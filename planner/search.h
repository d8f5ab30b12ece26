// SPDX-License-Identifier: Apache-2.0
// The search for the fastest plan that fits: a funnel of tiers, each slower and more faithful than the one before.
//     legality -> memory -> closed form (all that fit) -> analytic interpreter (best 32) -> simulation (best 4)
// Legality and memory are exhaustive. The cut from one tier of time to the next is heuristic: the result is the best
// of what the last tier saw, not proved best of the domain. Interpreters are handed in, so this knows no simulator.
#pragma once

#include "costmodel/cost_model.h"
#include "planner/search_space.h"
#include "program/load_model.h"
#include "program/plan.h"
#include "program/sequence_model.h"
#include "traces/interpreter.h"

#include <cstdint>
#include <functional>
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
  SequenceModel sequences = FixedLengths{};  // acts on the tiers that run the program, not on the closed form
};

struct SearchLimits {
  std::int64_t num_analytic = 32;  // plans that the analytic interpreter runs
  std::int64_t num_simulated = 4;  // plans that the simulator runs
};

/// A strategy with what each tier that saw it predicts, the most faithful last.
struct RankedPlan {
  Strategy strategy;
  std::vector<Prediction> predictions;
  std::vector<std::string> extrapolated;  // names of ops whose time lies outside what was measured
};

struct SearchResult {
  /// Best first: simulated plans by their simulated time, then the others by their analytic time. Equal times keep
  /// the order of the tier before, and in the end that of the space.
  std::vector<RankedPlan> ranked;
  Certificate certificate;
};

/// Nothing in the domain can run: the constraint that left nothing over.
struct Infeasible {
  std::string reason;
  std::string hint;
};

struct Progress {
  std::string_view tier;
  std::int64_t done = 0, total = 0;
};

/// Searches `space` for the fastest plans. `simulator` may be null; its tier is then left out. `on_progress` is called
/// by several threads, but never by two at once.
/// Throws: ConfigError if an op is not calibrated; what the interpreters throw.
std::variant<SearchResult, Infeasible> search(const SearchSpace& space, const SearchProblem& problem,
                                              const costmodel::CostModel& cost_model, const Interpreter& analytic,
                                              const Interpreter* simulator, const SearchLimits& limits = {},
                                              const std::function<void(const Progress&)>& on_progress = {});

/// What a tier of a certificate proves, or that it is heuristic.
std::string_view claim_of(const Certificate::Tier& tier);

}  // namespace orrery::planner
