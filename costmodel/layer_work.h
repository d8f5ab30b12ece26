// SPDX-License-Identifier: Apache-2.0
// Closed forms of one micro-batch on one rank, for the parts of a layer that are recomputed apart and for the ends of
// the model; costmodel/step_work.h adds them up. Symbols in the .cpp are those of docs/design/notation.md.
#pragma once

#include "program/model.h"
#include "program/step_program.h"
#include "program/strategy.h"

#include <cstdint>

namespace orrery::costmodel {

/// FLOPs of products and bytes sent, of one pass.
struct PassWork {
  double linear = 0.0, experts = 0.0, attention = 0.0;  // FLOPs
  double tp = 0.0, cp = 0.0, ep = 0.0, etp = 0.0;       // bytes

  PassWork& operator+=(const PassWork& other);
};

struct PartWork {
  PassWork fwd, igrad, wgrad;

  PartWork& operator+=(const PartWork& other);
};

class LayerWork {
 public:
  /// `model` and `strategy` outlive it.
  LayerWork(const Model& model, const Strategy& strategy, const BatchShape& batch);

  /// Of attention: projections that no module recomputes alone; MLA's expansions of latents to heads; scores and
  /// values with what travels for them.
  PartWork projections() const;
  PartWork expansions() const;
  PartWork core(const AttentionSpan& span) const;

  /// Of feed-forwards: a dense one; router, experts and their exchanges; shared experts.
  PartWork dense() const;
  PartWork experts() const;
  PartWork shared() const;

  PartWork embedding() const;
  PartWork head() const;
  /// What a prediction module has before its layer.
  PartWork mtp_entry() const;

  /// Bytes of the residual stream of one micro-batch on one rank.
  double message() const { return rows_ * h_ * element_; }

 private:
  /// Elements of what a linear layer multiplies, in bytes per row: fp8 with scales, or the model's type.
  double operand(double width) const;
  double gathered(double rows, double row_bytes) const { return (t_ - 1.0) / t_ * rows * row_bytes; }
  PartWork product(double m, double n, double k) const;
  PartWork column(double n, double k, double row_bytes) const;
  PartWork row(double n, double k) const;
  PartWork feed_forward(double width, double row_bytes) const;

  const Model& model_;
  const Strategy& strategy_;
  const double t_, c_, e_, et_;  // degrees
  const double seq_, tokens_;    // of a sequence; of a micro-batch on a rank [T]
  const double rows_;            // of the residual stream: T / t with sequence parallelism
  const double h_, element_;
};

}  // namespace orrery::costmodel
