// SPDX-License-Identifier: Apache-2.0
// The space of a search: for each dimension of a strategy the values that are tried. A strategy of the space takes one
// value of each. It is only a list of choices: which of them are legal, fit and are fast is asked elsewhere.
#pragma once

#include "program/cluster.h"
#include "program/model.h"
#include "program/plan.h"
#include "program/step_program.h"
#include "program/strategy.h"

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace orrery::planner {

/// How layers are laid on stages: evenly, with one layer less at an end, in equal time, as the user listed them, or
/// with the least bottleneck that fits, which depends on sharding and so is found for plans and not for families.
struct Layout {
  enum class Kind : std::uint8_t { even, fewer_first, fewer_last, fewer_both, equal_time, listed, least_bottleneck };
  Kind kind = Kind::even;
  std::vector<StageLayout> listed = {};
};

struct Domains {
  std::vector<std::int64_t> tp, cp, pp, vpp, ep, etp, micro_batch;
  std::int64_t most_chunks = 0, global_batch = 0;  // beyond those, vpp up to it and its divisors may be listed
  std::vector<ContextParallel> cp_kind;
  std::vector<Dispatcher> dispatcher;
  std::vector<Schedule> schedule;
  std::vector<int> zero_dense, zero_expert;
  /// The first is tried with any sharding; others where ZeRO 2 or 3 exchanges in every slot. At the end of a step,
  /// where ZeRO 1 does, the same bytes travel whether it is of one instance or of several, which need more memory.
  std::vector<std::int64_t> num_optimizer_instances;
  // Flags: 0 and 1, or one of them.
  std::vector<int> dp_buckets, overlap_tp, ep_batch_level, delayed_wgrad, shared_expert;
  std::vector<int> offload_optimizer, offload_activations;
  std::vector<std::set<RecomputeModule>> recompute;  // of the stages of one rank; none first
  std::vector<Layout> layouts;
  // On demand (planner/on_demand.h).
  std::vector<int> cuda_graphs;  // of two, the second is not tried beside pairs of forward and backward
  std::vector<DType> precision, master_dtype, moment_dtype, grad_dtype, grad_wire_dtype;
  std::vector<Fp8Recipe> fp8_recipe;
  std::vector<int> fp8_activation_input;
  std::vector<OptimizerKind> optimizer;
  std::vector<std::optional<double>> capacity_factor;  // none: no row is dropped
  std::vector<Mtp> mtp;
  /// The first is searched, and the default if it is among them; the others are tried on plans that were run.
  std::vector<std::string_view> order;
  Strategy base;  // of the user, without stages: what dimensions on demand begin with

  /// The values of each dimension, for people, and how a search has gone through them.
  std::vector<Certificate::Dimension> manifest(std::string_view claim) const;
};

/// Whether no number of rows follows from the router, so that a CUDA graph can hold a whole step.
bool graphs_hold_a_step(const Model& model, const Strategy& strategy);

/// Everything that Orrery can lower, as far as it makes sense: tensor parallelism within a scale-up domain, at least
/// 512 tokens of a sequence on a rank, 1 to 16 sequences in a micro-batch, powers of two; 8 chunks on a rank; as many
/// instances of the optimizer as scale-up domains at most; CUDA graphs where a graph can hold a
/// step. The stages that `base` lists, unless they are the even ones, are tried beside the
/// usual layouts. Within one scale-up domain all devices are equally near, and one order is enough. On CPUs, what
/// `orrery calibrate` measures there. Requires: at least one device.
Domains domains_of(const Model& model, const Cluster& cluster, const BatchShape& batch, Strategy base = {});

/// The stages of `layout` for pp * vpp stages; nothing where it has none, or where an earlier layout has the same.
/// Layouts in equal time come from `planner/stage_balance.h`, those with the least bottleneck from
/// `planner/laid_members.h`; here they are none.
std::vector<StageLayout> stages_of_layout(const Model& model, const Layout& layout, const Strategy& strategy);

/// All sets of modules that a stage of the model can recompute: none first, then by size.
std::vector<std::set<RecomputeModule>> recompute_choices(const Model& model);

}  // namespace orrery::planner
