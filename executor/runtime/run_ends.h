// SPDX-License-Identifier: Apache-2.0
// Both ends of the model: the lookup of tokens and the loss over the logits, each over this rank's part of the
// vocabulary, and the entry of prediction modules.
#pragma once

#include "executor/runtime/op_call.h"

namespace orrery::executor {

void run_lookup(OpCall& call);     // embed.lookup
void run_head_max(OpCall& call);   // head.max: of this rank's part of the vocabulary
void run_loss(OpCall& call);       // head.loss
void run_loss_sum(OpCall& call);   // tp.loss_sum
void run_head_norm(OpCall& call);  // head.norm: of the model, or of a prediction module

void run_mtp_lookup(OpCall& call);  // mtp.embed
void run_mtp_norm(OpCall& call);    // mtp.norm

}  // namespace orrery::executor
