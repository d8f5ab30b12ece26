// SPDX-License-Identifier: Apache-2.0
// The ops of an MoE block that stand at the tokens (the router and the gate of the shared experts) and at the experts.
// What lies between is dispatch.h's business.
#pragma once

#include "executor/runtime/op_call.h"

namespace orrery::executor {

void run_router(OpCall& call);
void run_shared_gate(OpCall& call);

void run_permute(OpCall& call);
void run_dispatch(OpCall& call);
void run_combine(OpCall& call);
void run_unpermute(OpCall& call);

void run_expert_fc1(OpCall& call);
void run_expert_act(OpCall& call);
void run_expert_fc2(OpCall& call);
/// Rows of the whole ETP group, and their sums back to the ranks that they came to.
void run_etp_gather(OpCall& call);
void run_etp_scatter(OpCall& call);

}  // namespace orrery::executor
