// SPDX-License-Identifier: Apache-2.0
// Gradients and weights across ranks, the norm, the optimizer: ops of the end of a step, and those that ZeRO 2 and 3
// run for each unit of the model on the way.
#pragma once

#include "executor/runtime/op_call.h"

namespace orrery::executor {

// Both kinds of parameters have these ops; which is meant follows from the op.
void run_gradient_cast(OpCall& call);
void run_gradient_scatter(OpCall& call);
void run_gradient_all_reduce(OpCall& call);
void run_replica_all_reduce(OpCall& call);
void run_weight_gather(OpCall& call);
void run_update(OpCall& call);
void run_muon(OpCall& call);

void run_repeated_gradients(OpCall& call);  // tp.grad_ar
void run_shared_gradients(OpCall& call);    // embed.grad_ar
void run_bias_counts(OpCall& call);
void run_norm_local(OpCall& call);
void run_norm_reduce(OpCall& call);
void run_bias_update(OpCall& call);

// Of key-value heads that several TP ranks hold (key_value_copies.cpp): their gradients, summed beside tp.grad_ar, and
// how many elements of a head that is. No op of the program counts them.
void sum_copied_heads(OpCall& call);
std::int64_t copied_head_elements(const FlatState& state);

// Of one unit (unit_exchange.cpp): what the three above do in the middle of a step.
void scatter_unit_gradients(OpCall& call);
void reduce_unit_replicas(OpCall& call);
void gather_unit_weights(OpCall& call);
// Of one bucket (bucket_exchange.cpp): the same while the step runs.
bool is_bucket(OpCall& call);
void scatter_bucket(OpCall& call);
void reduce_bucket(OpCall& call);
void reduce_bucket_replicas(OpCall& call);
void gather_bucket(OpCall& call);

/// If the op has created a bucket for the gradients of its unit: they are summed there from now on.
void start_bucket_of(OpCall& call);

// Copies between device and host.
void run_load_states(OpCall& call);
void run_store_states(OpCall& call);
void run_store_activations(OpCall& call);
void run_load_activations(OpCall& call);

/// Whether an op of the end of a step is about experts.
bool is_of_experts(OpCode op);
FlatState& state_of(OpCall& call);

}  // namespace orrery::executor
