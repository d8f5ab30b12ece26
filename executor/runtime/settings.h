// SPDX-License-Identifier: Apache-2.0
// What a training run needs beyond the plan: data, seeds, hyperparameters. The defaults train a small model.
#pragma once

#include "executor/kernels/adamw.h"

#include <chrono>
#include <cstdint>
#include <string>

namespace orrery::executor {

struct TrainingSettings {
  std::int64_t num_steps = 1;
  std::uint64_t seed = 1;  // of weights and of the synthetic corpus
  std::string corpus;      // path of a text, bytes are tokens; empty: synthetic
  AdamWSettings adamw{.learning_rate = 3e-3F};
  double clip_norm = 1.0;  // gradients are scaled down to this norm; 0: never
  float router_temperature = 1.0F;
  /// Every expert gets the same number of tokens whatever the router says, as benchmarks do it: timing without the
  /// noise of an untrained router.
  bool balanced_routing = false;
  float bias_update_rate = 1e-3F;  // of the aux-free bias
  float init_deviation = 0.02F;
  std::string checkpoint;                      // folder of checkpoints; empty: none are written
  std::int64_t checkpoint_every = 0;           // steps; 0: after the last one only
  std::string resume_from;                     // path of a complete checkpoint of this run; empty: from the first step
  std::string init_from;                       // Hugging Face folder with the first weights; empty: random ones
  std::string record_routing, replay_routing;  // folders of routing/1 to write, and to take choices from; empty: none
  std::string metrics_file;                    // text file for Prometheus, renewed after each step; empty: none
  std::string metrics_lines;                   // JSON Lines of the same, one for each step; empty: none
  std::string gemm;                            // back end by name; empty: the best one
  std::chrono::milliseconds time_out = std::chrono::minutes(2);  // for a peer that does not come
};

}  // namespace orrery::executor
