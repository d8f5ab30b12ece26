// SPDX-License-Identifier: Apache-2.0
// Activations of one layer in bytes per token, by formula: what stays from forward to backward, what recomputation
// drops and brings back, and what the backward needs beside it at its fullest moments. Nothing here looks at a
// program; that the program's own tensors agree is tested by replaying them (program/memory_replay.h).
// Formulas: docs/design/memory.md.
#pragma once

#include "program/model.h"
#include "program/strategy.h"

#include <set>

namespace orrery::costmodel {

/// Bytes per token of one layer.
struct LayerActivations {
  double saved = 0.0;  // from forward to backward, its input included
  // During its backward, beyond what is saved:
  double ffn_peak = 0.0;        // in the FFN's part, what it recomputes included
  double attention_peak = 0.0;  // in the attention's part, likewise

  double backward_peak() const { return ffn_peak > attention_peak ? ffn_peak : attention_peak; }
};

/// `rho`: rows that arrive at the rank's experts, over those that leave it.
LayerActivations layer_activations(const Model& model, const Strategy& strategy, LayerKind kind,
                                   const std::set<RecomputeModule>& recompute, double rho);

}  // namespace orrery::costmodel
