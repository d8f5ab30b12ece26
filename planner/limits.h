// SPDX-License-Identifier: Apache-2.0
// The questions around a fit, asked the other way: with how few devices, how long a sequence, how large a micro-batch,
// how large a model. Each answer names what binds it: the rank that would overflow at the next value, or the rule that
// knows no next value. Values that are legal are listed or stepped through, and among them the last that fits is found
// by bisection, since memory grows with each of them.
#pragma once

#include "base/units.h"
#include "planner/fit_check.h"
#include "program/plan.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace orrery::planner {

struct Limit {
  std::optional<std::int64_t> value;  // nothing: no value fits
  Bytes memory;                       // of the fullest rank at that value
  std::string binds;                  // "at 5,121: pipeline rank 0 needs ..., device has ..."
};

/// Fewest devices of the plan's nodes, whole nodes only, with the same strategy and batch and only dp changed: less
/// than the plan has, or more if it does not fit.
Limit fewest_devices(const Plan& plan);

/// Tokens of a sequence; a multiple of what tp with sp and cp split it into. At most 2^24.
Limit longest_sequence(const Plan& plan);

/// Sequences of a micro-batch, the global batch as it is.
Limit largest_micro_batch(const Plan& plan);

/// Layers of a model like the plan's: its first layers, and behind its last one more like it. Stages are laid evenly,
/// each with what the last stage of the plan recomputes. At most 4096.
Limit largest_layers(const Plan& plan);

/// The model with `num_layers` layers that largest_layers means. Requires: num_layers >= 1.
Model with_layers(const Model& model, std::int64_t num_layers);

/// `plan` for another model: stages laid evenly as above, everything else as it is.
/// Requires: at least as many layers as the plan has stages.
Strategy strategy_for(const Model& model, const Plan& plan);

/// Whether that fits on the plan's devices. Requires: the same.
FitCheck check_model(const Model& model, const Plan& plan);

/// How many of the first `count` indices `holds` is true for, if it is true up to some index and false from there on.
/// Complexity: log2(count) calls.
std::int64_t num_leading(std::int64_t count, const std::function<bool(std::int64_t)>& holds);

}  // namespace orrery::planner
