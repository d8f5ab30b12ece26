// SPDX-License-Identifier: Apache-2.0
// DeepSpeed: the file of --deepspeed_config. Much of a plan is code there, not configuration: the stages of a
// PipelineModule, what a model checkpoints. That is listed with what the code has to say.
// Source: DeepSpeed 0.19.6, runtime/config.py, runtime/zero/config.py, runtime/tensor_parallel/config.py,
// module_inject/auto_ep_config.py; what excludes what: docs/code-docs/source/moe.rst, "AutoEP".
#include "base/json_writer.h"
#include "planner/exporters/targets.h"
#include "program/layout_text.h"
#include "program/names.h"

#include <fmt/format.h>

namespace orrery::planner {
namespace {

class DeepSpeed {
 public:
  explicit DeepSpeed(const Plan& plan) : plan_(plan), s_(plan.strategy) {}

  Export write() {
    check_degrees();
    check_pipeline();
    check_states();
    check_recompute();
    check_experts();
    check_experts_and_overlap();
    list_placement(plan_, out_);
    if (out_.refused.empty()) out_.text = text();
    return std::move(out_);
  }

 private:
  bool is_moe() const { return plan_.model.moe.has_value(); }
  /// Whether ranks with the same experts are beside each other: use_data_before_expert_parallelism. Source: the groups
  /// that utils/groups.py makes with it.
  bool lays_data_first() const {
    return s_.order == "tp-cp-dp-ep-pp" && is_moe() && s_.tp == 1 && s_.cp == 1 && s_.etp == 1;
  }
  int zero() const { return zero_of(plan_); }

  void check_degrees() {
    if (s_.sp) out_.refuse("sp", "its tensor parallelism keeps whole sequences on every rank");
    if (s_.cp_kind == ContextParallel::ulysses) {
      if (s_.cp > 1) out_.list("cp", fmt::format("in code: Ulysses sequence parallelism of {} ranks", s_.cp));
    } else if (s_.cp > 1) {
      out_.refuse("cp_kind", fmt::format("it splits sequences as Ulysses does, not by \"{}\"",
                                         name_of(kContextParallelNames, s_.cp_kind)));
    }
    if (s_.cp == 1 && s_.cp_kind != ContextParallel::ring) out_.list("cp_kind", "left out: cp is 1");
    if (!lays_data_first() && s_.order != Strategy().order) {
      out_.refuse("order", "it lays ranks as tp-cp-ep-dp-pp, and where it splits nothing but experts as tp-cp-dp-ep-pp",
                  {default_order_condition()});
    }
  }

  void check_pipeline() {
    if (s_.schedule != Schedule::one_f_one_b) {
      out_.refuse("schedule", fmt::format("its pipeline runs 1f1b, not \"{}\"", name_of(s_.schedule)),
                  {"schedule=1f1b"});
    }
    if (s_.vpp > 1) out_.refuse("vpp", "its pipeline has one stage for each rank", {"vpp=1"});
    if (s_.pp > 1) {
      out_.list("pp", fmt::format("in code: a PipelineModule of {} stages", s_.pp));
      out_.list("stages", fmt::format("in code: layers lie as {}", layout_text(s_.stages)));
      if (zero() > 1) {
        out_.refuse("zero_dense", "its pipeline goes with ZeRO 0 and 1 alone", {"zero_dense<=1", "zero_expert<=1"});
      }
    }
    if (s_.mtp == Mtp::on) out_.list("mtp", "in code: the prediction modules are the model's");
  }

  void check_states() {
    check_same_sharding(plan_, out_);
    if (s_.num_optimizer_instances > 1) {
      out_.refuse("num_optimizer_instances", "its optimizer states are shared by all data-parallel ranks",
                  {"num_optimizer_instances=1"});
    }
    if (s_.precision == DType::fp8) out_.refuse("precision", "its configuration knows bf16 and f32, no fp8");
    if (s_.fp8_activation_input) out_.refuse("fp8_activation_input", "it keeps activations in their type");
    list_unused_fp8_recipe(plan_, out_);
    if (s_.master_dtype != DType::f32) out_.refuse("master_dtype", "its master weights are f32");
    if (s_.moment_dtype != DType::f32) out_.refuse("moment_dtype", "its moments are f32");
    if (s_.grad_dtype == DType::i64) out_.refuse("grad_dtype", "it adds gradients up in floating point");
    if (s_.offload_optimizer && zero() == 0) {
      out_.refuse("offload_optimizer", "it offloads optimizer states that are sharded: ZeRO 1 or more",
                  {"offload_optimizer=0"});
    }
  }

  void check_recompute() {
    const auto modules = uniform_recompute(s_);
    if (!modules) {
      out_.list("stages/recompute", "in code: the stages recompute different modules");
    } else if (!modules->empty()) {
      std::string names;
      for (const RecomputeModule module : *modules) names += fmt::format(" {}", name_of(module));
      out_.list("stages/recompute", fmt::format("in code: every layer checkpoints{}", names));
    }
    if (s_.offload_activations && !recomputes_fully(s_)) {
      out_.refuse("offload_activations", "it moves the inputs of recomputed layers to the host, and nothing else",
                  {"offload_activations=0"});
    }
  }

  /// What automatic expert parallelism excludes.
  void check_experts() {
    if (!is_moe()) return;
    if (s_.tp > 1) out_.refuse("tp", "its automatic expert parallelism excludes tensor parallelism", {"tp=1"});
    if (zero() == 3 && s_.etp > 1) out_.refuse("etp", "with ZeRO 3 it keeps experts whole", {"etp=1"});
    if (zero() == 3 && s_.cp > 1) out_.refuse("cp", "with ZeRO 3 and experts it splits no sequence", {"cp=1"});
    if (plan_.model.moe->aux_free_bias) {
      out_.list("ep", "the router's bias that balances experts is off: its automatic expert parallelism has none");
    }
  }

  void check_experts_and_overlap() {
    if (s_.capacity_factor) out_.refuse("capacity_factor", "its automatic expert parallelism drops no token");
    if (s_.dispatcher != Dispatcher::all_to_all) {
      out_.list("dispatcher", fmt::format("left out: rows travel by all_to_all, not by \"{}\"",
                                          name_of(kDispatcherNames, s_.dispatcher)));
    }
    const auto leave_out = [&](bool on, const char* key) {
      if (on) out_.list(key, "left out: it has no such overlap");
    };
    leave_out(s_.overlap.tp, "overlap/tp");
    leave_out(s_.overlap.ep_batch_level, "overlap/ep_batch_level");
    leave_out(s_.overlap.delayed_wgrad, "overlap/delayed_wgrad");
    leave_out(s_.overlap.shared_expert, "overlap/shared_expert");
    if (s_.overlap.dp_buckets && zero() == 0) out_.list("overlap/dp_buckets", "left out: it overlaps with ZeRO alone");
    if (s_.cuda_graphs) out_.list("cuda_graphs", "left out: it captures graphs for inference alone");
  }

  std::string text() const {
    const auto types = [](DType type) { return type == DType::f32 ? "fp32" : "bf16"; };
    JsonWriter out;
    out.begin_object();
    out.field("train_batch_size", plan_.batch.global_batch);
    out.field("train_micro_batch_size_per_gpu", s_.micro_batch);
    out.field("gradient_accumulation_steps", num_micro_batches(plan_));
    out.key("bf16").begin_object().field("enabled", s_.precision == DType::bf16).end_object();
    out.key("data_types").begin_object().field("grad_accum_dtype", types(s_.grad_dtype)).end_object();
    out.field("communication_data_type", types(s_.grad_wire_dtype));
    out.key("optimizer").begin_object();
    out.field("type", s_.optimizer == OptimizerKind::adamw ? "AdamW" : "Muon").end_object();
    out.key("zero_optimization").begin_object().field("stage", zero());
    if (zero() > 0) out.field("overlap_comm", s_.overlap.dp_buckets || zero() > 1);
    if (s_.offload_optimizer) out.key("offload_optimizer").begin_object().field("device", "cpu").end_object();
    out.end_object();
    if (s_.tp > 1) out.key("tensor_parallel").begin_object().field("autotp_size", s_.tp).end_object();
    if (is_moe()) {
      out.key("expert_parallel").begin_object().field("enabled", true).field("autoep_size", s_.ep);
      out.field("expert_tensor_parallel_size", s_.etp).field("use_grouped_mm", true).end_object();
    }
    if (is_moe() && lays_data_first()) out.field("use_data_before_expert_parallelism", true);
    if (recomputes_fully(s_)) {
      out.key("activation_checkpointing").begin_object();
      out.field("partition_activations", false).field("cpu_checkpointing", s_.offload_activations).end_object();
    }
    out.end_object();
    return out.text();
  }

  const Plan& plan_;
  const Strategy& s_;
  Export out_;
};

}  // namespace

Export write_deepspeed(const Plan& plan) { return DeepSpeed(plan).write(); }

}  // namespace orrery::planner
