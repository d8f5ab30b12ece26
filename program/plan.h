// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "program/cluster.h"
#include "program/expert_placement.h"
#include "program/fidelity.h"
#include "program/load_model.h"
#include "program/model.h"
#include "program/sequence_model.h"
#include "program/step_program.h"
#include "program/strategy.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

// plan/1: everything that is needed to lower, predict and run one training step again. Model and cluster are embedded
// with the hash of the file that they came from, so the plan alone is enough. Predictions and certificate are plain
// records that lowering ignores; who fills them is the planner.

namespace orrery {

/// A file that went into the plan: where it was, its sha256, and its content as text (empty: by reference only).
struct Source {
  std::string path;
  std::string sha256;
  std::string content;
  std::set<std::string> ignored_keys;  // of the model: keys that the user chose to ignore
};

/// Where a measured value lies in four of five cases.
template <class Q>
struct Interval80 {
  Q low, high;
};

/// What a tier predicted for the plan.
struct Prediction {
  std::string tier;  // "closed" | "analytic" | "simgrid"
  Seconds step_time;
  Bytes peak_memory;  // of the fullest rank
  bool extrapolated = false;
  /// By errors on published runs; none: they say nothing of such a prediction.
  std::optional<Interval80<Seconds>> step_time_80 = {};
  std::optional<Interval80<Bytes>> peak_memory_80 = {};
};

/// How the plan was found: the domain that was searched and what each tier did with it.
struct Certificate {
  struct Dimension {
    std::string name;    // "ep"
    std::string domain;  // "1 2 4 8"
    std::string claim;   // "exhaustive"
  };
  struct Tier {
    std::string name;
    std::int64_t evaluated = 0;
    std::int64_t rejected = 0;  // infeasible or beaten
  };
  std::vector<Dimension> domain;
  std::vector<Tier> tiers;
  /// How far the best analytic time may be above that of a plan that was not run, relative to it: 0 says that it is the
  /// best of the domain. Nothing: no bound holds for this load.
  std::optional<double> gap;
};

struct Provenance {
  std::string version;
  std::uint64_t seed = 0;
  std::string command;
};

struct Plan {
  Source model_source, cluster_source, calibration_source;
  Model model;
  Cluster cluster;
  BatchShape batch;
  LoadModel load;  // any but a recorded one, which no file holds
  SequenceModel sequences;
  Strategy strategy;
  /// Whose training loop will run it, by the name of a preset (costmodel/framework.h): its copies and buffers count as
  /// memory. Empty: our own executor's on CPU ranks, elsewhere nobody's.
  std::string framework;
  ExpertPlacement experts;  // every expert on one rank of an EP group
  /// Device of each rank; empty: they are in the order of the strategy (rank_devices.h).
  std::vector<DeviceIndex> device_of_rank;
  Fidelities fidelity;  // of a simulation; lowering ignores it
  std::vector<Prediction> predictions;
  std::optional<Certificate> certificate;
  Provenance provenance;

  /// One rank for each device of the cluster, or for each one named in device_of_rank.
  std::int64_t num_ranks() const;
  /// Requires: rank < num_ranks().
  DeviceIndex device_of(RankId rank) const;
};

/// The program of a plan. Requires: a plan that was read, or whose strategy is legal.
StepProgram lower(const Plan& plan);

/// Throws: ConfigError with all problems of the file, broken strategy rules included.
Plan read_plan(const std::filesystem::path& path);
Plan read_plan_text(const std::string& text, const std::string& file);
/// Deterministic text: equal plans give equal bytes. The cluster is written from `cluster` with every device inline.
/// Requires: the model's source holds its content.
std::string to_json(const Plan& plan);

/// Reads strategy/1. `stages: "even"` and recompute shorthands are expanded for `model`.
/// Throws: ConfigError with all problems of the file; broken rules of program/legality.h only where the batch and the
/// number of devices are given to check them.
Strategy read_strategy(const std::filesystem::path& path, const Model& model);
Strategy read_strategy(const std::filesystem::path& path, const Model& model, const BatchShape& batch,
                       std::int64_t num_devices);
Strategy read_strategy_text(const std::string& text, const std::string& file, const Model& model,
                            const BatchShape& batch, std::int64_t num_devices);

}  // namespace orrery
