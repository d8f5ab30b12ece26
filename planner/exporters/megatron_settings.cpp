// SPDX-License-Identifier: Apache-2.0
#include "planner/exporters/megatron_settings.h"

#include "planner/exporters/megatron_names.h"
#include "program/layout_text.h"
#include "program/names.h"

#include <utility>

#include <fmt/format.h>

namespace orrery::planner {
namespace {

using Strings = std::vector<std::string>;

/// One after the other, the dimensions of a strategy.
class Settings {
 public:
  Settings(const Plan& plan, Export& out) : plan_(plan), s_(plan.strategy), out_(out) {}

  std::vector<MegatronSetting> all() {
    batch();
    degrees();
    pipeline();
    sharding();
    recompute();
    experts();
    overlap();
    precision();
    optimizer();
    graphs_and_offload();
    list_placement(plan_, out_);
    return std::move(settings_);
  }

 private:
  void set(std::string flag, Strings values, Strings bridge) {
    settings_.push_back({.flag = std::move(flag), .values = std::move(values), .bridge = std::move(bridge)});
  }
  void set(std::string flag, std::int64_t value, Strings bridge) {
    set(std::move(flag), Strings{std::to_string(value)}, std::move(bridge));
  }
  void turn_on(std::string flag, Strings bridge) { set(std::move(flag), Strings{}, std::move(bridge)); }

  bool is_moe() const { return plan_.model.moe.has_value(); }

  void batch() {
    set("--seq-length", plan_.batch.seq, {"model.seq_length", "dataset.sequence_length"});
    set("--micro-batch-size", s_.micro_batch, {"train.micro_batch_size"});
    set("--global-batch-size", plan_.batch.global_batch, {"train.global_batch_size"});
  }

  void degrees() {
    set("--tensor-model-parallel-size", s_.tp, {"model.tensor_model_parallel_size"});
    if (s_.sp) turn_on("--sequence-parallel", {"model.sequence_parallel"});
    set("--pipeline-model-parallel-size", s_.pp, {"model.pipeline_model_parallel_size"});
    set("--context-parallel-size", s_.cp, {"model.context_parallel_size"});
    if (s_.cp_kind != ContextParallel::ring || s_.cp > 1) {
      set("--cp-comm-type", Strings{std::string(name_of(kMegatronContextParallel, s_.cp_kind))},
          {"model.cp_comm_type"});
    }
    set("--expert-model-parallel-size", s_.ep, {"model.expert_model_parallel_size"});
    // Left out, it would be the tensor parallel size.
    set("--expert-tensor-parallel-size", s_.etp, {"model.expert_tensor_parallel_size"});
    if (s_.order == "tp-cp-ep-pp-dp") {
      turn_on("--use-tp-pp-dp-mapping", {"dist.use_tp_pp_dp_mapping"});
      // Pipelines of attention and of experts have to be the same ranks. Source: Megatron-LM, parallel_state.py.
      if (s_.pp > 1 && s_.tp * s_.cp != s_.etp * s_.ep) {
        out_.refuse(
            "order",
            fmt::format("with it, it wants etp * ep to be tp * cp, not {} and {}", s_.etp * s_.ep, s_.tp * s_.cp),
            {default_order_condition()});
      }
    } else if (s_.order != Strategy().order) {
      out_.refuse("order", fmt::format("it knows tp-cp-ep-dp-pp and tp-cp-ep-pp-dp, not \"{}\"", s_.order),
                  {default_order_condition()});
    }
  }

  void pipeline() {
    const Schedule schedule = s_.vpp > 1 ? Schedule::interleaved : Schedule::one_f_one_b;
    if (s_.schedule != schedule) {
      out_.refuse("schedule",
                  fmt::format("it runs 1f1b, and interleaved with a vpp above 1, not \"{}\"",
                              name_of(kScheduleNames, s_.schedule)),
                  {"schedule=1f1b,interleaved"});
    }
    if (s_.pp == 1 && s_.vpp > 1)
      out_.refuse("vpp", "it interleaves stages of several pipeline ranks, and pp is 1", {"vpp=1"});
    if (s_.num_stages() > 1) {
      set("--pipeline-model-parallel-layout", Strings{layout_text(s_.stages)},
          {"model.pipeline_model_parallel_layout",
           fmt::format("model.virtual_pipeline_model_parallel_size={}", s_.vpp > 1 ? std::to_string(s_.vpp) : "null")});
    }
    // Micro-batches that a rank runs through one of its stages before the next: with us as many as pipeline ranks.
    if (s_.vpp > 1) {
      set("--microbatch-group-size-per-virtual-pipeline-stage", s_.pp, {"model.microbatch_group_size_per_vp_stage"});
    }
    if (s_.mtp == Mtp::on) set("--mtp-num-layers", plan_.model.num_mtp_modules, {"model.mtp_num_layers"});
  }

  int zero() const { return zero_of(plan_); }

  void sharding() {
    check_same_sharding(plan_, out_);
    if (s_.num_optimizer_instances > 1) {
      set("--num-distributed-optimizer-instances", s_.num_optimizer_instances,
          {"ddp.num_distributed_optimizer_instances"});
      if (s_.optimizer == OptimizerKind::muon) {
        out_.refuse("num_optimizer_instances", "its Muon shares states over all data-parallel ranks",
                    {"num_optimizer_instances=1"});
      }
    }
    // Muon has a distributed optimizer of its own.
    if (zero() == 0 || s_.optimizer == OptimizerKind::muon) return;
    turn_on("--use-distributed-optimizer", {"ddp.use_distributed_optimizer", "optimizer.use_distributed_optimizer"});
    if (zero() == 1) return;
    turn_on("--use-megatron-fsdp", {"ddp.use_megatron_fsdp", "dist.use_megatron_fsdp"});
    set("--data-parallel-sharding-strategy", Strings{std::string(name_of(kMegatronSharding, zero()))},
        {"ddp.data_parallel_sharding_strategy"});
    set("--ckpt-format", Strings{"fsdp_dtensor"}, {"checkpoint.ckpt_format"});
    if (s_.order != Strategy().order) {
      out_.refuse("order", "its FSDP has no other order than tp-cp-ep-dp-pp", {default_order_condition()});
    }
  }

  void recompute() {
    if (const std::optional<std::int64_t> layers = uniform_full_layers(s_)) {
      const bool all = uniform_recompute(s_).has_value();
      set("--recompute-granularity", Strings{"full"}, {"model.recompute_granularity"});
      set("--recompute-method", Strings{all ? "uniform" : "block"}, {"model.recompute_method"});
      set("--recompute-num-layers", all ? 1 : *layers, {"model.recompute_num_layers"});
      return;
    }
    const auto modules = uniform_recompute(s_);
    if (!modules) {
      out_.refuse("stages/recompute",
                  "it recomputes the same modules in every layer, or the same number of first layers of every stage",
                  {same_recompute_condition(s_)});
      return;
    }
    if (modules->empty()) return;
    Strings names;
    for (const RecomputeModule module : *modules) names.emplace_back(name_of(module));
    set("--recompute-granularity", Strings{"selective"}, {"model.recompute_granularity"});
    set("--recompute-modules", names, {"model.recompute_modules"});
  }

  void experts() {
    if (!is_moe()) return;
    set("--moe-token-dispatcher-type", Strings{std::string(name_of(kMegatronDispatcher, s_.dispatcher))},
        {"model.moe_token_dispatcher_type"});
    if (s_.dispatcher == Dispatcher::two_level) {
      set("--moe-flex-dispatcher-backend", Strings{"deepep"}, {"model.moe_flex_dispatcher_backend"});
    }
    if (!s_.capacity_factor) return;
    set("--moe-expert-capacity-factor", Strings{fmt::format("{}", *s_.capacity_factor)},
        {"model.moe_expert_capacity_factor"});
    turn_on("--moe-pad-expert-input-to-capacity", {"model.moe_pad_expert_input_to_capacity"});
  }

  void overlap() {
    const Overlap& on = s_.overlap;
    const bool muon = s_.optimizer == OptimizerKind::muon;
    if (on.dp_buckets && muon) out_.list("overlap/dp_buckets", "left out: its Muon waits for whole gradients");
    if (on.dp_buckets && !muon) {
      turn_on("--overlap-grad-reduce", {"ddp.overlap_grad_reduce", "comm_overlap.overlap_grad_reduce"});
      if (zero() > 0) {
        turn_on("--overlap-param-gather", {"ddp.overlap_param_gather", "comm_overlap.overlap_param_gather"});
      }
    }
    if (on.tp) turn_on("--tp-comm-overlap", {"comm_overlap.tp_comm_overlap"});
    const bool pairs = on.ep_batch_level && pairs_are_possible();
    if (pairs) {
      turn_on("--overlap-moe-expert-parallel-comm", {"comm_overlap.overlap_moe_expert_parallel_comm"});
    }
    if (on.delayed_wgrad && pairs) {
      turn_on("--delay-wgrad-compute", {"comm_overlap.delay_wgrad_compute"});
    } else if (on.delayed_wgrad) {
      out_.list("overlap/delayed_wgrad", "left out: it delays weight gradients beside ep_batch_level alone");
    }
    if (!on.shared_expert) return;
    if (s_.dispatcher == Dispatcher::all_to_all && !pairs) {
      turn_on("--moe-shared-expert-overlap", {"model.moe_shared_expert_overlap"});
    } else {
      out_.list("overlap/shared_expert", pairs ? "left out: it excludes ep_batch_level"
                                               : "left out: it goes with the dispatcher all_to_all alone");
    }
  }

  /// Source: the checks of overlap_moe_expert_parallel_comm in transformer_config.py.
  bool pairs_are_possible() {
    const auto without = [&](const char* why) {
      out_.list("overlap/ep_batch_level", fmt::format("left out: {}", why));
      return false;
    };
    if (s_.pp > 1 && s_.vpp == 1)
      return without("with several pipeline ranks it pairs micro-batches if vpp is above 1");
    if (s_.dispatcher == Dispatcher::all_gather) return without("it does not go with the dispatcher all_gather");
    if (uniform_full_layers(s_)) return without("it excludes recomputation of whole layers");
    if (s_.precision == DType::f32) return without("it needs 16-bit weights");
    if (s_.mtp == Mtp::on && plan_.model.num_mtp_modules > 1) return without("it knows one prediction module at most");
    return true;
  }

  void precision() {
    if (s_.precision != DType::f32) turn_on("--bf16", {"mixed_precision.bf16"});
    if (s_.precision == DType::fp8) {
      const bool tensorwise = s_.fp8_recipe == Fp8Recipe::tensorwise;
      set("--fp8-format", Strings{tensorwise ? "hybrid" : "e4m3"}, {"mixed_precision.fp8"});
      set("--fp8-recipe", Strings{std::string(name_of(kFp8RecipeNames, s_.fp8_recipe))},
          {"mixed_precision.fp8_recipe"});
      keep_weights_in_bf16();
      pad_rows_of_experts();
    }
    if (s_.fp8_activation_input && !plan_.model.gated) {
      out_.refuse("fp8_activation_input", "it keeps the inputs of SwiGLU in fp8, and of no other function");
    } else if (s_.fp8_activation_input) {
      turn_on("--activation-func-fp8-input-store", {"model.activation_func_fp8_input_store"});
    }
    list_unused_fp8_recipe(plan_, out_);
    if (s_.grad_dtype != s_.grad_wire_dtype) {
      out_.refuse("grad_wire_dtype", fmt::format("gradients travel in the type in which it adds them up: {} and {}",
                                                 name_of(s_.grad_wire_dtype), name_of(s_.grad_dtype)));
    } else if (s_.grad_dtype == DType::i64) {
      out_.refuse("grad_dtype", "it adds gradients up in floating point");
    } else if (s_.grad_dtype == DType::bf16 && s_.precision == DType::f32) {
      out_.refuse("grad_dtype", "the gradients of its f32 weights are f32");
    } else if (s_.grad_dtype == DType::bf16) {
      turn_on("--grad-reduce-in-bf16", {"ddp.grad_reduce_in_fp32=false", "mixed_precision.grad_reduce_in_fp32=false"});
    } else {
      turn_on("--accumulate-allreduce-grads-in-fp32",
              {"ddp.grad_reduce_in_fp32", "mixed_precision.grad_reduce_in_fp32"});
    }
  }

  /// Weights are stored and gathered in bf16, and every layer computes in fp8. That is what Megatron-LM does without
  /// further arguments; recipes of Bridge gather in fp8 and leave the first and the last layer out.
  void keep_weights_in_bf16() {
    settings_.push_back(
        {.bridge = {"mixed_precision.fp8_param_gather=false", "mixed_precision.reuse_grad_buf_for_mxfp8_param_ag=false",
                    "mixed_precision.first_last_layers_bf16=false"}});
  }

  /// Products in fp8 want a multiple of 16 or 32 rows. Source: get_fp8_align_size in fp8_utils.py, and the checks of
  /// moe_router_padding_for_fp8 in transformer_config.py.
  void pad_rows_of_experts() {
    if (!is_moe() || s_.capacity_factor) return;
    const int rows = s_.fp8_recipe == Fp8Recipe::mxfp8 ? 32 : 16;
    const bool by_router = s_.dispatcher != Dispatcher::all_gather;
    if (by_router) turn_on("--moe-router-padding-for-fp8", {"model.moe_router_padding_for_fp8"});
    out_.list("precision", fmt::format("rows of an expert are filled up to a multiple of {}, by {}", rows,
                                       by_router ? "the router" : "a copy before its products"));
  }

  void optimizer() {
    const bool muon = s_.optimizer == OptimizerKind::muon;
    set("--optimizer", Strings{!muon ? "adam" : zero() == 0 ? "muon" : "dist_muon"}, {"optimizer.optimizer"});
    if (muon && zero() > 0)
      out_.list("optimizer", "its Muon gives whole matrices to ranks, not equal parts of a buffer");
    if (muon && zero() > 1) out_.refuse("optimizer", "its Muon shards optimizer states alone");
    if (s_.master_dtype != DType::f32) out_.refuse("master_dtype", "it has no bf16 master weights");
    const bool bf16_moments = s_.moment_dtype != DType::f32;
    if (bf16_moments && (zero() == 0 || muon)) {
      out_.refuse("moment_dtype", "bf16 moments need its distributed optimizer of AdamW: ZeRO 1 or more");
    }
    if (bf16_moments || s_.offload_optimizer) {
      turn_on("--use-precision-aware-optimizer", {"optimizer.use_precision_aware_optimizer"});
    }
    if (bf16_moments) {
      set("--exp-avg-dtype", Strings{"bf16"}, {"optimizer.exp_avg_dtype"});
      set("--exp-avg-sq-dtype", Strings{"bf16"}, {"optimizer.exp_avg_sq_dtype"});
    }
    if (!s_.offload_optimizer) return;
    if (zero() == 0 || muon) {
      out_.refuse("offload_optimizer", "it offloads the states of its distributed AdamW: ZeRO 1 or more",
                  {"offload_optimizer=0"});
    }
    turn_on("--optimizer-cpu-offload", {"optimizer.optimizer_cpu_offload"});
  }

  void graphs_and_offload() {
    if (s_.cuda_graphs) {
      Strings modules{"attn"};
      if (plan_.model.dense_width > 0) modules.emplace_back("mlp");
      if (is_moe()) modules.insert(modules.end(), {"moe_router", "moe_preprocess"});
      set("--cuda-graph-impl", Strings{"transformer_engine"}, {"model.cuda_graph_impl"});
      set("--cuda-graph-modules", modules, {"model.cuda_graph_modules"});
      if (is_moe()) out_.list("cuda_graphs", "of attention, dense layers and router; experts are launched one by one");
    }
    if (!s_.offload_activations) return;
    const auto modules = uniform_recompute(s_);
    const auto recomputed = [&](RecomputeModule module) { return modules && modules->contains(module); };
    Strings offloaded{"attn_norm", "qkv_linear", "core_attn", "attn_proj", "mlp_norm"};
    if (is_moe()) offloaded.emplace_back("expert_fc1");
    if (is_moe() && !recomputed(RecomputeModule::moe_act) && !recomputed(RecomputeModule::moe)) {
      offloaded.emplace_back("moe_act");
    }
    turn_on("--fine-grained-activation-offloading", {"model.fine_grained_activation_offloading"});
    set("--offload-modules", offloaded, {"model.offload_modules"});
    out_.list("offload_activations", "the inputs of these modules move to the host, not all that is saved");
  }

  const Plan& plan_;
  const Strategy& s_;
  Export& out_;
  std::vector<MegatronSetting> settings_;
};

}  // namespace

std::vector<MegatronSetting> megatron_settings(const Plan& plan, Export& out) { return Settings(plan, out).all(); }

}  // namespace orrery::planner
