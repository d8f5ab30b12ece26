// SPDX-License-Identifier: Apache-2.0
#include "costmodel/step_work.h"

#include "costmodel/layer_work.h"
#include "costmodel/sharded_buffer.h"
#include "program/counts.h"
#include "program/schedule.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <vector>

namespace orrery::costmodel {
namespace {

double real(std::int64_t n) { return static_cast<double>(n); }

class Adder {
 public:
  Adder(const Model& model, const Strategy& strategy, const BatchShape& batch, const Mesh& mesh,
        std::int64_t pipeline_rank)
      : model_(model),
        strategy_(strategy),
        mesh_(mesh),
        layer_(model, strategy, batch),
        num_mtp_(num_mtp_modules(model, strategy.mtp)) {
    for (const std::int64_t stage : stages_of(strategy, pipeline_rank)) {
      held_.push_back(stage);
      layouts_.push_back(strategy.stages[static_cast<std::size_t>(stage)]);
    }
    // Modules embed what they predict from; without them it is the head that shares its matrix.
    holds_copy_ = std::any_of(layouts_.begin(), layouts_.end(),
                              [this](const StageLayout& s) { return num_mtp_ > 0 ? s.num_mtp > 0 : s.head; });
    micro_batches_ = real(batch.global_batch / (mesh.dp() * strategy.micro_batch));
    // DualPipe sends half of the micro-batches each way, so each of a rank's two stages sees a half.
    if (strategy.schedule == Schedule::dualpipe) micro_batches_ /= 2.0;
  }

  StepWork run() {
    for (std::size_t chunk = 0; chunk < held_.size(); ++chunk) {
      add_stage(layouts_[chunk]);
      add_messages(held_[chunk]);
    }
    add_step_end();
    return out_;
  }

 private:
  void add(Pass pass, const PassWork& work) {
    const auto at = static_cast<std::size_t>(pass);
    out_.flops.linear[at] += micro_batches_ * work.linear;
    out_.flops.experts[at] += micro_batches_ * work.experts;
    out_.flops.attention[at] += micro_batches_ * work.attention;
    out_.sent.tp += micro_batches_ * work.tp;
    out_.sent.cp += micro_batches_ * work.cp;
    out_.sent.ep += micro_batches_ * work.ep;
    out_.sent.etp += micro_batches_ * work.etp;
  }
  void add(const PartWork& work, bool again = false) {
    add(Pass::fwd, work.fwd);
    add(Pass::igrad, work.igrad);
    add(Pass::wgrad, work.wgrad);
    if (again) add(Pass::rec, work.fwd);
  }

  /// Which forwards run again: Megatron-LM, --recompute-modules. Norms and activations have no products.
  void add_layer(std::int64_t layer, const std::set<RecomputeModule>& modules) {
    using R = RecomputeModule;
    const auto any_of = [&](std::initializer_list<R> wanted) {
      return std::any_of(wanted.begin(), wanted.end(), [&](R module) { return modules.contains(module); });
    };
    add(layer_.projections(), any_of({R::full}));
    add(layer_.expansions(), any_of({R::full, R::mla_up_proj}));
    add(layer_.core(model_.span(layer)), any_of({R::full, R::core_attn}));
    if (model_.kind(layer) == LayerKind::dense) {
      add(layer_.dense(), any_of({R::full, R::mlp}));
    } else {
      add(layer_.experts(), any_of({R::full, R::moe}));
      add(layer_.shared(), any_of({R::full, R::moe, R::shared_experts}));
    }
  }

  void add_stage(const StageLayout& stage) {
    if (stage.embedding) add(layer_.embedding());
    for (std::int64_t i = 0; i < stage.num_layers; ++i) {
      const bool recomputes = i < stage.num_recompute_layers.value_or(stage.num_layers);
      add_layer(stage.first_layer + i, recomputes ? stage.recompute : std::set<RecomputeModule>{});
    }
    for (std::int64_t i = 0; i < stage.num_mtp; ++i) {
      add(layer_.mtp_entry());
      add_layer(model_.num_layers() + i, stage.num_recompute_layers ? std::set<RecomputeModule>{} : stage.recompute);
    }
    if (!stage.head) return;
    for (std::int64_t i = 0; i < 1 + num_mtp_; ++i) add(layer_.head());
  }

  /// Whether `stage` and the one behind it are on different ranks: not at the turn of a V.
  bool crosses_behind(std::int64_t stage) const {
    const bool folds = strategy_.schedule == Schedule::zbv || strategy_.schedule == Schedule::dualpipev;
    return strategy_.pp > 1 && stage >= 0 && stage + 1 < strategy_.num_stages() &&
           !(folds && stage + 1 == strategy_.pp);
  }
  /// Streams that cross it: those of prediction modules as well, if their head is behind.
  double streams_behind(std::int64_t stage) const {
    const auto end = strategy_.stages.begin() + stage + 1;
    const bool has_mtp = std::any_of(strategy_.stages.begin(), end, [](const StageLayout& s) { return s.num_mtp > 0; });
    return has_mtp ? 1.0 + real(num_mtp_) : 1.0;
  }
  /// Activations to the stage behind, gradients to the one before.
  void add_messages(std::int64_t stage) {
    for (const std::int64_t boundary : {stage, stage - 1}) {
      if (crosses_behind(boundary)) out_.sent.pp += micro_batches_ * streams_behind(boundary) * layer_.message();
    }
  }

  void add_step_end() {
    const auto add_buffer = [&](FlatBufferKind kind) {
      const bool dense = kind == FlatBufferKind::dense;
      const ShardedBuffer buffer(model_, strategy_, mesh_, layouts_, kind);
      (dense ? out_.sent.dp : out_.sent.edp) += buffer.sent(micro_batches_);
      out_.flops.optimizer += buffer.muon_flops();
    };
    add_buffer(FlatBufferKind::dense);
    add_buffer(FlatBufferKind::expert);
    add_repeated();
    if (model_.moe && model_.moe->aux_free_bias) add_expert_counts();
    out_.sent.world += all_reduced(real(mesh_.world()), 32.0);  // sum of squares, overflow flag and loss
  }

  /// Gradients of weights that several ranks hold beside their data-parallel copies, each of which has seen a part: TP
  /// ranks with tokens of their own, or with heads of their own that share one norm; two stages with one embedding.
  /// Source: Megatron-LM, finalize_model_grads.py.
  void add_repeated() {
    const double grad = real(size_of(strategy_.grad_dtype));
    const std::int64_t shards = strategy_.zero_dense >= 2 ? mesh_.size(Group::dp_shard) : 1;
    const auto held = [shards](std::int64_t elements) { return real((elements + shards - 1) / shards); };
    std::int64_t repeated = 0;
    for (const Parameter& p : rank_parameters(model_, layouts_, strategy_.ep, 0)) {
      const bool of_heads = p.role == WeightRole::q_norm || p.role == WeightRole::k_norm;
      const bool counts = p.split == Split::none && !p.buffer && !p.is_expert();
      if (counts && (strategy_.sp || of_heads)) repeated += p.size();
    }
    out_.sent.tp += all_reduced(real(strategy_.tp), held(repeated) * grad);
    const bool here =
        holds_copy_ || std::any_of(layouts_.begin(), layouts_.end(), [](const StageLayout& s) { return s.embedding; });
    if (here && mesh_.size(Group::embedding) == 2 && (model_.tied_embeddings || num_mtp_ > 0)) {
      out_.sent.embedding += held(model_.vocab / strategy_.tp * model_.hidden) * grad;
    }
  }

  /// Tokens of each expert, over all ranks that have routed some.
  void add_expert_counts() {
    double layers = 0.0;
    for (const StageLayout& stage : layouts_) {
      for (std::int64_t i = 0; i < stage.num_layers + stage.num_mtp; ++i) {
        const std::int64_t layer = i < stage.num_layers ? stage.first_layer + i : model_.num_layers();
        if (model_.kind(layer) == LayerKind::moe) ++layers;
      }
    }
    const double bytes = layers * real(model_.moe->num_experts) * 8.0;
    out_.sent.dp += all_reduced(real(mesh_.size(Group::dp)), bytes);
    if (strategy_.sp) out_.sent.tp += all_reduced(real(strategy_.tp), bytes);
  }

  const Model& model_;
  const Strategy& strategy_;
  const Mesh& mesh_;
  const LayerWork layer_;
  const std::int64_t num_mtp_;
  double micro_batches_ = 0.0;  // of each stage
  std::vector<std::int64_t> held_;
  std::vector<StageLayout> layouts_;
  bool holds_copy_ = false;  // of the embedding, for prediction modules or a tied head
  StepWork out_;
};

}  // namespace

double StepFlops::total() const {
  double sum = 0.0;
  for (const ByPass* part : {&linear, &experts, &attention}) sum = std::accumulate(part->begin(), part->end(), sum);
  return sum + optimizer;
}

StepWork step_work(const Model& model, const Strategy& strategy, const BatchShape& batch, const Mesh& mesh,
                   std::int64_t pipeline_rank) {
  return Adder(model, strategy, batch, mesh, pipeline_rank).run();
}

}  // namespace orrery::costmodel
