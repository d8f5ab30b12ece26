// SPDX-License-Identifier: Apache-2.0
// How much one rank computes and sends in a step, in closed form: FLOPs of its matrix products and payload bytes by
// dimension, under a balanced router. Written from the formulas of the papers and frameworks that the .cpp names, not
// from a list of ops: lowering is held to it (tests/unit/costmodel/step_work_test.cpp), so it may share nothing with
// lowering or with costmodel/layer_ops.h. No time, no order, no memory.
#pragma once

#include "base/units.h"
#include "program/mesh.h"
#include "program/model.h"
#include "program/op_key.h"
#include "program/step_program.h"
#include "program/strategy.h"

#include <array>
#include <cstddef>
#include <cstdint>

namespace orrery::costmodel {

/// FLOPs of matrix products, a multiply and an add as 2. What is limited by memory is not counted.
struct StepFlops {
  /// By Pass::fwd, rec, igrad, wgrad.
  using ByPass = std::array<double, 4>;
  ByPass linear{};         // dense products: projections, dense and shared feed-forwards, router, head
  ByPass experts{};        // grouped products
  ByPass attention{};      // scores and values, causal half, backward 2.5 times the forward
  double optimizer = 0.0;  // Muon's

  double total() const;
};

/// Payload bytes that a rank sends to others, rings counted as in nccl-tests: 2 (n-1)/n of the buffer in an all-reduce,
/// (n-1)/n in a reduce-scatter, all-gather or all-to-all.
struct StepBytes {
  double tp = 0.0, cp = 0.0, ep = 0.0, etp = 0.0;            // while micro-batches pass
  double pp = 0.0;                                           // activations and gradients, to both neighbours
  double dp = 0.0, edp = 0.0, embedding = 0.0, world = 0.0;  // gradients, parameters and what the optimizer needs
};

struct StepWork {
  StepFlops flops;
  StepBytes sent;
};

/// Of every rank of pipeline rank `pipeline_rank`.
/// Requires: violations(model, strategy, batch, mesh.world()) is empty.
/// Complexity: linear in the layers of the rank.
StepWork step_work(const Model& model, const Strategy& strategy, const BatchShape& batch, const Mesh& mesh,
                   std::int64_t pipeline_rank);

}  // namespace orrery::costmodel
