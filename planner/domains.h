// SPDX-License-Identifier: Apache-2.0
// The space of a search: for each dimension of a strategy the values that are tried. A strategy of the space takes one
// value of each; what no dimension names (precision, optimizer, types of states) is taken from a base. It is only a
// list of choices: which of them are legal, fit and are fast is asked elsewhere.
#pragma once

#include "program/cluster.h"
#include "program/model.h"
#include "program/plan.h"
#include "program/step_program.h"
#include "program/strategy.h"

#include <cstdint>
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
  std::vector<ContextParallel> cp_kind;
  std::vector<Dispatcher> dispatcher;
  std::vector<Schedule> schedule;
  std::vector<int> zero_dense, zero_expert;
  // Flags: 0 and 1, or one of them.
  std::vector<int> dp_buckets, overlap_tp, ep_batch_level, delayed_wgrad, shared_expert;
  std::vector<int> offload_optimizer, offload_activations;
  std::vector<std::set<RecomputeModule>> recompute;  // of the stages of one rank; none first
  std::vector<Layout> layouts;
  /// The first is searched, and the default if it is among them; the others are tried on plans that were run.
  std::vector<std::string_view> order;
  Strategy base;  // everything else; without stages

  /// The values of each dimension, for people, and how a search has gone through them.
  std::vector<Certificate::Dimension> manifest(std::string_view claim) const;
};

/// Everything that Orrery can lower, as far as it makes sense: tensor parallelism within a scale-up domain, at least
/// 512 tokens of a sequence on a rank, 1 to 16 sequences in a micro-batch, powers of two. The stages that `base` lists,
/// unless they are the even ones, are tried beside the usual layouts. Within one scale-up domain all devices are
/// equally near, and one order is enough. On CPUs, what `orrery calibrate` measures there. Requires: at least one
/// device.
Domains domains_of(const Model& model, const Cluster& cluster, const BatchShape& batch, Strategy base = {});

/// The stages of `layout` for pp * vpp stages; nothing where it has none, or where an earlier layout has the same.
/// Layouts in equal time come from `planner/stage_balance.h`, those with the least bottleneck from
/// `planner/laid_members.h`; here they are none.
std::vector<StageLayout> stages_of_layout(const Model& model, const Layout& layout, const Strategy& strategy);

/// All sets of modules that a stage of the model can recompute: none first, then by size.
std::vector<std::set<RecomputeModule>> recompute_choices(const Model& model);

}  // namespace orrery::planner
