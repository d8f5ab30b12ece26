// SPDX-License-Identifier: Apache-2.0
// The passes that fill one rank class: slots of the schedule become layers forward and backward with the messages
// between stages; then gradients and optimizer close the step.
#pragma once

#include "program/counts.h"
#include "program/lowering/class_builder.h"
#include "program/lowering/rules.h"
#include "program/mesh.h"
#include "program/schedule.h"

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <vector>

namespace orrery::lowering {

/// Rules of everything that a model can have on a stage, made once per program.
class ModelRules {
 public:
  explicit ModelRules(const RuleContext& context);

  /// Behind the last layer come those of multi-token prediction, which are like it.
  const BlockRules& attention(std::int64_t layer) const { return attention_.at(model_.span(layer)); }
  const BlockRules& ffn(std::int64_t layer) const { return kind(layer) == LayerKind::moe ? moe_ffn_ : dense_ffn_; }
  LayerKind kind(std::int64_t layer) const { return model_.kind(layer); }
  const BlockRules& embedding() const { return embedding_; }
  /// `adds`: to a gradient of the hidden states that another op has left.
  const BlockRules& head(bool adds) const { return adds ? adding_head_ : head_; }
  const BlockRules& mtp(bool adds) const { return adds ? adding_mtp_ : mtp_; }

 private:
  const Model& model_;
  std::map<AttentionSpan, BlockRules> attention_;
  BlockRules dense_ffn_, moe_ffn_, embedding_, head_, adding_head_, mtp_, adding_mtp_;
};

/// Who is on the other side of the first or last layer of a stage, and whether outputs of multi-token prediction cross
/// it beside the residual stream.
struct StageBoundary {
  Neighbour neighbour = Neighbour::none;
  bool with_mtp = false;
};

/// One virtual stage of a pipeline rank.
struct StageContext {
  const RuleContext& rules_context;
  const Mesh& mesh;
  const ModelRules& rules;
  const StageLayout& layout;
  std::int64_t stage = 0;
  StageBoundary before, behind;

  std::int64_t first_layer() const { return layout.first_layer; }
  std::int64_t end_layer() const { return layout.first_layer + layout.num_layers; }
  std::int64_t num_layers() const { return rules_context.model.num_layers(); }
};

/// Multi-token-prediction module i has its own layer behind the model's: its tensors are those of two more positions,
/// its input and its output, and its key says layer L + i.
constexpr std::int64_t mtp_position(std::int64_t num_layers, std::int64_t module) {
  return num_layers + 1 + 2 * module;
}

/// Where weights of the embedding are that are gathered while those of the first layer are there.
inline std::int64_t embedding_position(const Model& model, const Strategy& strategy) {
  return mtp_position(model.num_layers(), num_mtp_modules(model, strategy.mtp));
}

/// One pipeline rank under way: what the passes share.
struct ClassContext {
  const RuleContext& rules_context;
  const ModelRules& rules;
  const Mesh& mesh;
  std::int64_t pipeline_rank = 0;
  std::int64_t num_micro_batches = 0;
  std::vector<StageContext> stages;               // in chunk order
  std::optional<std::int64_t> least_bucket = {};  // elements; not set: what fills the links of a large group

  ClassContext(const RuleContext& rules_context, const ModelRules& rules, const Mesh& mesh, std::int64_t pipeline_rank,
               std::int64_t num_micro_batches);
  /// Where its tensors are: the layers of its stages, and the one behind each.
  std::vector<std::int64_t> layers() const;
  std::vector<StageLayout> layouts() const;
};

/// Gradients that were summed over their data-parallel group while the backward ran: sums of buckets, and of the units
/// of ZeRO 2 and 3 the last on each queue.
struct BucketedGradients {
  std::vector<OpIndex> reductions;
};

/// Emits all slots of the schedule, messages included.
BucketedGradients emit_slots(const ClassContext& context, ClassBuilder& builder);

/// Emits the exchange of the other gradients, the global norm, the optimizer and the gather of parameters.
void emit_step_end(const ClassContext& context, const BucketedGradients& bucketed, ClassBuilder& builder);

/// Rules of the forward of one layer that run again before its backward, under the stage's recompute modules:
/// some before the FFN's part of the backward, some before the attention's.
struct RecomputeRules {
  std::vector<const OpRule*> before_ffn, before_attention;
  std::set<TensorRole> kept;  // roles that the recomputation creates but the forward did not drop
};

RecomputeRules recompute_rules(const std::set<RecomputeModule>& modules, LayerKind kind, const BlockRules& attention,
                               const BlockRules& ffn);

}  // namespace orrery::lowering
