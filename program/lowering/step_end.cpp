// SPDX-License-Identifier: Apache-2.0
#include "program/flat_buffer.h"
#include "program/lowering/muon.h"
#include "program/lowering/parameter_kind.h"
#include "program/lowering/stage_program.h"

namespace orrery::lowering {
namespace {

/// Bytes of the all-reduce that ends the gradient norm: a 128-bit sum of squares, its overflow flag, and the loss.
constexpr std::int64_t kNormBytes = 32;

/// The parameters of one kind, as one flat buffer.
struct Buffer {
  FlatBuffer flat;
  ParameterKind kind;

  std::int64_t owned() const { return kind.zero >= 1 ? flat.shard() : flat.padded; }
  std::int64_t owned_muon() const { return kind.zero >= 1 ? flat.muon_shard() : flat.muon; }
};

class StepEndEmitter {
 public:
  StepEndEmitter(const ClassContext& context, const BucketedGradients& bucketed, ClassBuilder& builder)
      : c_(context),
        rules_(context.rules_context),
        s_(context.rules_context.strategy),
        bucketed_(bucketed),
        builder_(builder),
        dense_(buffer_of(FlatBufferKind::dense)),
        expert_(buffer_of(FlatBufferKind::expert)) {}

  void emit() {
    const OpIndex backward_end = builder_.next() - 1;
    std::vector<OpIndex> gradients = bucketed_.reductions;
    reduce_gradients(dense_, backward_end, gradients);
    reduce_gradients(expert_, backward_end, gradients);
    reduce_shared_gradients(backward_end, gradients);
    if (gradients.empty()) gradients.push_back(backward_end);
    const OpIndex bias_counts = reduce_bias_counts(backward_end);

    // Every gradient is squared once: each rank takes its shard, whether or not it also holds the rest.
    const OpIndex squares = add(OpCode::norm_local, Pass::sync, Queue::compute,
                                MemoryShape{.rows = {Rows::Kind::fixed, dense_.flat.shard() + expert_.flat.shard()},
                                            .read_per_row = size_of(s_.grad_dtype),
                                            .flops_per_row = 2},
                                gradients);
    const OpIndex norm =
        add(OpCode::norm_reduce, Pass::sync, Queue::world,
            CollectiveShape{.kind = CollectiveKind::all_reduce, .group = Group::world, .bytes = kNormBytes}, {squares});

    std::vector<OpIndex> after = {norm};
    if (s_.offload_optimizer) after.push_back(load_states(backward_end));
    gather_parameters(dense_, optimize(dense_, after));
    if (expert_.flat.padded > 0) gather_parameters(expert_, optimize(expert_, after));
    if (s_.offload_optimizer) store_states();
    if (expert_.flat.padded == 0 || !rules_.model.moe->aux_free_bias) return;
    add(OpCode::moe_bias, Pass::update, Queue::compute,
        MemoryShape{.rows = {Rows::Kind::fixed, num_bias_values()}, .read_per_row = 12, .written_per_row = 4},
        {bias_counts});
  }

 private:
  ClassBuilder::Position here() const {
    return {.stage = c_.stages.front().stage, .layer = c_.stages.front().first_layer()};
  }
  Buffer buffer_of(FlatBufferKind kind) const {
    return {.flat = flat_buffer(rules_.model, c_.layouts(), s_, c_.mesh, kind), .kind = parameter_kind(kind, s_)};
  }
  OpIndex add(const OpRule& rule, const std::vector<OpIndex>& after) { return builder_.emit(rule, here(), after); }
  OpIndex add(OpCode op, Pass pass, Queue queue, const OpShape& shape, const std::vector<OpIndex>& after,
              const std::vector<RoleUse>& uses = {}) {
    return add(rules_.with_shape(op, pass, queue, shape, uses), after);
  }
  OpIndex collective(OpCode op, Pass pass, Queue queue, Group group, CollectiveKind kind, std::int64_t bytes,
                     const std::vector<OpIndex>& after, const std::vector<RoleUse>& uses = {}) {
    return add(op, pass, queue, CollectiveShape{.kind = kind, .group = group, .bytes = bytes}, after, uses);
  }

  /// Adds the ops after which the gradients that this rank owns are complete. ZeRO 2 and 3 have summed them unit by
  /// unit, and overlapped buckets on the way.
  void reduce_gradients(const Buffer& buffer, OpIndex after, std::vector<OpIndex>& out) {
    const std::int64_t ranks = c_.mesh.size(buffer.kind.whole);
    const bool by_unit = buffer.kind.zero >= 2 && buffer.flat.ranks > 1;
    if (ranks == 1 || buffer.flat.padded == 0 || by_unit || s_.overlap.dp_buckets) return;
    std::vector<RoleUse> uses;
    if (s_.grad_wire_dtype != s_.grad_dtype) {
      const Rows rows{Rows::Kind::fixed, buffer.flat.padded};
      after =
          add(buffer.kind.cast, Pass::sync, Queue::compute,
              MemoryShape{
                  .rows = rows, .read_per_row = size_of(s_.grad_dtype), .written_per_row = size_of(s_.grad_wire_dtype)},
              {after}, {create(buffer.kind.wire, rows, 1, s_.grad_wire_dtype)});
      uses.push_back(read(buffer.kind.wire));
    }
    const std::int64_t bytes = buffer.flat.padded * size_of(s_.grad_wire_dtype);
    if (buffer.kind.zero == 0) {
      out.push_back(collective(buffer.kind.all_reduce, Pass::sync, buffer.kind.queue, buffer.kind.whole,
                               CollectiveKind::all_reduce, bytes, {after}, uses));
      return;
    }
    // Hybrid sharding: to shards within an instance, and these over the instances.
    OpIndex last = after;
    if (buffer.flat.ranks > 1) {
      last = collective(buffer.kind.scatter, Pass::sync, buffer.kind.queue, buffer.kind.shard,
                        CollectiveKind::reduce_scatter, bytes, {after}, uses);
    }
    if (s_.num_optimizer_instances > 1) {
      last = collective(buffer.kind.over_replicas, Pass::sync, buffer.kind.queue, buffer.kind.replica,
                        CollectiveKind::all_reduce, buffer.flat.shard() * size_of(s_.grad_wire_dtype), {last},
                        buffer.flat.ranks > 1 ? std::vector<RoleUse>{} : uses);
    }
    out.push_back(last);
  }

  /// Of so many dense gradients, those that are left on a rank when the backward has ended: with ZeRO 2 and 3 a shard.
  std::int64_t held(std::int64_t elements) const {
    const std::int64_t shards = dense_.kind.zero >= 2 ? dense_.flat.ranks : 1;
    return (elements + shards - 1) / shards;
  }

  /// Gradients of weights that other ranks hold as well: all TP ranks, or the first and the last stage.
  void reduce_shared_gradients(OpIndex after, std::vector<OpIndex>& out) {
    // Without sequence parallelism all TP ranks see all tokens, but a norm that heads share only those of its heads.
    std::int64_t repeated = 0;
    for (const Parameter& p : rank_parameters(rules_.model, c_.layouts(), s_.ep, 0)) {
      const bool of_heads = p.role == WeightRole::q_norm || p.role == WeightRole::k_norm;
      const bool counts = p.split == Split::none && !p.buffer && !p.is_expert();
      if (counts && (rules_.sequence_parallel() || of_heads)) repeated += p.size();
    }
    if (rules_.tp > 1 && repeated > 0) {
      out.push_back(collective(OpCode::tp_grad_ar, Pass::sync, Queue::tp, Group::tp, CollectiveKind::all_reduce,
                               held(repeated) * size_of(s_.grad_dtype), {after}));
    }
    const bool has_copy = rules_.model.tied_embeddings || num_mtp_modules(rules_.model, s_.mtp) > 0;
    const RankId self(static_cast<std::int32_t>(c_.pipeline_rank * c_.mesh.ranks_per_stage()));
    const std::vector<RankId> holders = c_.mesh.members(Group::embedding, self);
    if (!has_copy || holders.size() < 2 || std::find(holders.begin(), holders.end(), self) == holders.end()) return;
    const std::int64_t elements = rules_.model.vocab / s_.tp * rules_.model.hidden;
    out.push_back(collective(OpCode::embed_grad_ar, Pass::sync, Queue::embedding, Group::embedding,
                             CollectiveKind::all_reduce, held(elements) * size_of(s_.grad_dtype), {after}));
  }

  std::int64_t num_bias_values() const {
    std::int64_t layers = 0;
    for (const StageContext& stage : c_.stages) {
      for (std::int64_t layer = stage.first_layer(); layer < stage.end_layer(); ++layer) {
        if (rules_.model.kind(layer) == LayerKind::moe) ++layers;
      }
      if (rules_.model.kind(stage.num_layers()) == LayerKind::moe) layers += stage.layout.num_mtp;
    }
    return layers * rules_.model.moe->num_experts;
  }

  /// Tokens per expert over all ranks of the stage, as 64-bit counts: over TP first where its ranks have tokens of
  /// their own.
  OpIndex reduce_bias_counts(OpIndex after) {
    const bool has_bias = rules_.model.moe && rules_.model.moe->aux_free_bias && expert_.flat.padded > 0;
    if (!has_bias) return after;
    const std::int64_t bytes = num_bias_values() * size_of(DType::i64);
    if (rules_.sequence_parallel()) {
      OpRule over_tp = rules_.with_shape(
          OpCode::moe_bias_counts, Pass::sync, Queue::tp,
          CollectiveShape{.kind = CollectiveKind::all_reduce, .group = Group::tp, .bytes = bytes}, {});
      over_tp.bucket = 0;
      after = add(over_tp, {after});
    }
    if (c_.mesh.size(Group::dp) == 1) return after;
    return collective(OpCode::moe_bias_counts, Pass::sync, Queue::dp, Group::dp, CollectiveKind::all_reduce, bytes,
                      {after});
  }

  std::int64_t state_bytes(std::int64_t num_moments) const {
    return num_moments * size_of(s_.moment_dtype) + (has_master(s_) ? size_of(s_.master_dtype) : 0);
  }

  /// Reads gradient, moments and the master (or, without one, the weight), and writes all but the gradient.
  MemoryShape update_shape(std::int64_t elements, std::int64_t num_moments, std::int64_t flops) const {
    const std::int64_t states = num_moments * size_of(s_.moment_dtype) + size_of(s_.master_dtype);
    const std::int64_t weight_copy = has_master(s_) ? size_of(compute_dtype(s_)) : 0;
    return {.rows = {Rows::Kind::fixed, elements},
            .read_per_row = size_of(s_.grad_dtype) + states,
            .written_per_row = states + weight_copy,
            .flops_per_row = flops};
  }

  /// AdamW on what the rank owns, and Muon on its matrices. Returns the last op of the update.
  OpIndex optimize(const Buffer& buffer, const std::vector<OpIndex>& after) {
    std::vector<RoleUse> uses;
    if (s_.offload_optimizer) uses.push_back(read(TensorRole::optimizer_states));
    OpIndex last = add(buffer.kind.update, Pass::update, Queue::compute,
                       update_shape(buffer.owned() - buffer.owned_muon(), 2, 15), after, uses);
    if (buffer.flat.muon == 0) return last;
    for (const OpRule& rule :
         muon_rules(c_, buffer.kind.orthogonalise, buffer.kind.kind, buffer.kind.zero >= 1 ? buffer.flat.ranks : 1)) {
      add(rule, {});
    }
    return add(buffer.kind.orthogonalise, Pass::update, Queue::compute, update_shape(buffer.owned_muon(), 1, 5), {},
               uses);
  }

  std::int64_t offloaded_bytes() const {
    std::int64_t bytes = 0;
    for (const Buffer* buffer : {&dense_, &expert_}) {
      bytes += (buffer->owned() - buffer->owned_muon()) * state_bytes(2) + buffer->owned_muon() * state_bytes(1);
    }
    return bytes;
  }

  /// Masters and moments live on the host and come to the device when the activations are gone.
  OpIndex load_states(OpIndex after) {
    const std::int64_t bytes = offloaded_bytes();
    return add(OpCode::opt_load, Pass::update, Queue::copy, CopyShape{.bytes = bytes, .to_host = false}, {after},
               {create(TensorRole::optimizer_states, {Rows::Kind::fixed, bytes}, 1, DType::u8)});
  }
  void store_states() {
    add(OpCode::opt_store, Pass::update, Queue::copy, CopyShape{.bytes = offloaded_bytes(), .to_host = true},
        {builder_.last(Queue::compute)}, {read(TensorRole::optimizer_states)});
  }

  /// ZeRO 3 leaves weights in shards; overlapped buckets gather them in the next step's forward.
  void gather_parameters(const Buffer& buffer, OpIndex after) {
    const bool stays = buffer.kind.zero == 0 || buffer.kind.zero == 3 || s_.overlap.dp_buckets;
    if (stays || buffer.flat.ranks == 1 || buffer.flat.padded == 0) return;
    collective(buffer.kind.gather, Pass::update, buffer.kind.queue, buffer.kind.shard, CollectiveKind::all_gather,
               buffer.flat.padded * size_of(compute_dtype(s_)), {after});
  }

  const ClassContext& c_;
  const RuleContext& rules_;
  const Strategy& s_;
  const BucketedGradients& bucketed_;
  ClassBuilder& builder_;
  const Buffer dense_, expert_;
};

}  // namespace

void emit_step_end(const ClassContext& context, const BucketedGradients& bucketed, ClassBuilder& builder) {
  StepEndEmitter(context, bucketed, builder).emit();
}

}  // namespace orrery::lowering
