// SPDX-License-Identifier: Apache-2.0
// How Megatron-LM lays layers on virtual stages: by a layout, by numbers of layers at the ends, or evenly.
// Source: Megatron-LM 0.20.0, megatron/core/transformer/transformer_block.py, get_num_layers_to_build.
#pragma once

#include "planner/importers/argument_list.h"
#include "program/model.h"
#include "program/strategy.h"

namespace orrery::planner {

/// Fills in vpp, schedule and stages. Requires: pp and mtp are set.
void read_megatron_stages(ArgumentList& in, const Model& model, Strategy& strategy);

}  // namespace orrery::planner
