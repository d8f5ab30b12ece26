// SPDX-License-Identifier: Apache-2.0
// What Megatron-Bridge's performance recipes switch on that its tables of results leave unsaid. A row of the tables
// names degrees, batch and, in some releases, modules in CUDA graphs; the library that exchanges tokens, whether
// exchanges run beside another micro-batch, which kernels experts have, what is multiplied in fp8, what is recomputed
// and which layers a stage has stand in the recipe of that model, GPU and precision alone. What a row does state comes
// first; a model without an entry is read as its row stands. What the recipes say beyond that, and why it is not read:
// docs/design/bridge-recipes.md.
#pragma once

#include "costmodel/validation/runs.h"
#include "program/strategy.h"

#include <cstdint>
#include <set>
#include <string>

namespace orrery::costmodel {

struct BridgeRecipe {
  bool sends_tokens_once = false;       // to each rank and domain: DeepEP, HybridEP
  bool overlaps_exchanges = false;      // beside another micro-batch, weight gradients delayed
  bool overlaps_tensors = false;        // of tensor parallelism with its products
  bool fused_experts = false;           // one kernel multiplies, activates and casts for all experts
  bool graphs_whole_iteration = false;  // where the row names no modules
  bool attends_in_fp8 = false;          // its operands are cast before each attention
  bool fp8_head = false;                // the head's products are in fp8, too
  bool no_prediction_module = false;    // a model that has one trains without
  std::set<RecomputeModule> recompute;  // where the row does not say
  bool operator==(const BridgeRecipe&) const = default;
};

/// Year, month and patch of the container in the name of a release, 260601 for "NeMo container 26.06.01"; 0: none.
int bridge_release_of(const std::string& software);

/// Requires: `run` is of Megatron-Bridge. Nothing is switched on where no recipe is known.
BridgeRecipe bridge_recipe_of(const PublishedRun& run);

/// Which layers of a model of `num_layers` each of `num_stages` stages has, as Megatron writes them, with `num_mtp`
/// prediction modules in the last; empty where the recipe leaves it to Megatron.
std::string bridge_layout_of(const PublishedRun& run, std::int64_t num_layers, std::int64_t num_stages,
                             std::int64_t num_mtp);

}  // namespace orrery::costmodel
