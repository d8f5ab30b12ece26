// SPDX-License-Identifier: Apache-2.0
// An MoE block between its norm and its residual, in three parts that know of one another only the roles of tensors:
// the router and what runs beside it, the way of the rows to the experts and back, the experts. How rows travel is the
// dispatcher's business; a new one is a new file that implements Dispatch.
#pragma once

#include "program/lowering/rules.h"

#include <cstdint>
#include <memory>

namespace orrery::lowering {

/// Sizes of the rows of a block on one rank.
struct MoeRows {
  /// `expert_width` as divided by ETP.
  MoeRows(const RuleContext& context);

  Rows tokens;    // of the residual stream
  Rows sent;      // (token, choice) pairs that leave
  Rows received;  // pairs that arrive from the EP group
  Rows computed;  // pairs that this rank's experts compute: those of its whole ETP group
  std::int64_t pairs = 0;
  std::int64_t experts = 0, local_experts = 0, top_k = 0;
  std::int64_t num_groups = 1, top_k_groups = 1;  // of node-limited routing
  std::int64_t expert_width = 0;                  // of this rank
};

/// The way from `norm2`, `scores` and `choices` to `expert_in` and `expert_probs` [received], and from `expert_out`
/// [received] to `moe_out`; backward from the gradient of the layer's output to `d_expert_out`, and from
/// `d_expert_in` and `d_expert_probs` to `d_norm2`, which it creates, and `d_probs`.
class Dispatch {
 public:
  virtual ~Dispatch() = default;
  virtual void there(std::vector<OpRule>& fwd) const = 0;
  virtual void back(std::vector<OpRule>& fwd) const = 0;
  virtual void gradient_there(std::vector<OpRule>& igrad) const = 0;
  virtual void gradient_back(std::vector<OpRule>& igrad) const = 0;
};

/// Rows are copied for each choice and sent in an all-to-all of variable sizes.
std::unique_ptr<Dispatch> all_to_all_dispatch(const RuleContext& context, const MoeRows& rows);
/// Every rank gets the tokens of its whole EP group and picks those of its experts; sums are scattered back.
std::unique_ptr<Dispatch> all_gather_dispatch(const RuleContext& context, const MoeRows& rows);
/// Each token goes once to each node and once to each rank that needs it (DeepEP; DeepSeek-V3, section 3.2.2).
std::unique_ptr<Dispatch> two_level_dispatch(const RuleContext& context, const MoeRows& rows);

/// Type and bytes of a row on the way to the experts: an operand of theirs, so fp8 where they multiply in it.
/// Source: DeepSeek-V3, section 3.3.2: rows and gradients go to the experts in fp8 and come back in bf16.
std::int64_t row_there(const RuleContext& context);
std::int64_t row_back(const RuleContext& context);

}  // namespace orrery::lowering
