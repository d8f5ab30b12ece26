// SPDX-License-Identifier: Apache-2.0
#include "planner/importers/megatron_arguments.h"

#include "planner/exporters/megatron_names.h"
#include "planner/importers/argument_list.h"
#include "planner/importers/megatron_model.h"
#include "planner/importers/megatron_stages.h"
#include "program/legality.h"
#include "program/names.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include <fmt/format.h>

namespace orrery::planner {
namespace {

constexpr Named<bool> kGranularity[] = {{"selective", false}, {"full", true}};
constexpr Named<bool> kMethod[] = {{"uniform", false}, {"block", true}};
constexpr Named<DType> kStateTypes[] = {{"fp32", DType::f32}, {"bf16", DType::bf16}};

/// What starts with one of these says where data comes from, what is logged and saved, how the optimizer moves, or
/// repeats what kind of model it is.
constexpr std::string_view kHarmless[] = {"--adam-",
                                          "--add-",
                                          "--apply-",
                                          "--async-save",
                                          "--attention-",
                                          "--auto-detect-ckpt-format",
                                          "--bias-",
                                          "--check-for-",
                                          "--ckpt-",
                                          "--clip-grad",
                                          "--cross-entropy-",
                                          "--data-",
                                          "--dataloader-",
                                          "--decoupled-",
                                          "--disable-bias-linear",
                                          "--dist-ckpt-",
                                          "--distributed-",
                                          "--enable-experimental",
                                          "--end-weight-decay",
                                          "--eod-",
                                          "--eval-",
                                          "--exit-",
                                          "--finetune",
                                          "--group-query-attention",
                                          "--hidden-dropout",
                                          "--init-method-",
                                          "--load",
                                          "--log-",
                                          "--logging-level",
                                          "--loss-scale",
                                          "--lr",
                                          "--manual-gc",
                                          "--max-position-embeddings",
                                          "--merge-file",
                                          "--min-lr",
                                          "--mla-",
                                          "--mock-data",
                                          "--moe-aux-loss-coeff",
                                          "--moe-grouped-gemm",
                                          "--moe-permute-fusion",
                                          "--moe-router-",
                                          "--moe-z-loss-coeff",
                                          "--mscale",
                                          "--mtp-loss-scaling-factor",
                                          "--no-",
                                          "--norm",
                                          "--num-workers",
                                          "--position-embedding-type",
                                          "--profile",
                                          "--qk-clip",
                                          "--qk-l2-norm",
                                          "--qk-layernorm",
                                          "--rerun-mode",
                                          "--rope-",
                                          "--rotary-",
                                          "--save",
                                          "--seed",
                                          "--split",
                                          "--start-weight-decay",
                                          "--swiglu",
                                          "--te-rng-tracker",
                                          "--tensorboard-",
                                          "--timing-log-",
                                          "--tokenizer-",
                                          "--train-",
                                          "--transformer-impl",
                                          "--untie-embeddings-and-output-weights",
                                          "--use-cpu-initialization",
                                          "--use-flash-attn",
                                          "--use-mcore-models",
                                          "--use-rotary-position-embeddings",
                                          "--valid-data-path",
                                          "--vocab-file",
                                          "--wandb-",
                                          "--weight-decay"};
/// What changes the step, and has no word in a strategy.
constexpr std::string_view kNotModelled[] = {"--use-torch-fsdp2",
                                             "--hierarchical-context-parallel-sizes",
                                             "--hybrid-context-parallel",
                                             "--fp4-format",
                                             "--cpu-offloading-num-layers",
                                             "--hybrid-override-pattern",
                                             "--heterogeneous-layers-config-path",
                                             "--encoder-tensor-model-parallel-size",
                                             "--encoder-pipeline-model-parallel-size",
                                             "--experimental-attention-variant",
                                             "--rampup-batch-size"};

class Reader {
 public:
  Reader(std::string_view text, const std::string& file, const Model& model) : in_(text, file) { job_.model = model; }

  MegatronJob run() {
    batch();
    degrees();
    read_megatron_model(in_, s_.tp, job_.model, job_.notes);
    pipeline();
    sharding();
    recompute();
    experts();
    overlap();
    precision();
    optimizer();
    graphs_and_offload();
    the_rest();
    in_.throw_if_any();
    return std::move(job_);
  }

 private:
  bool is_moe() const { return job_.model.moe.has_value(); }
  void note(std::string sentence) { job_.notes.push_back(std::move(sentence)); }

  std::int64_t required(std::string_view name, std::int64_t max = kMostSize) {
    if (!in_.has(name)) in_.problem(name, "expected it among the arguments");
    return in_.integer(name, 1, max).value_or(1);
  }
  void degree(std::string_view name, std::int64_t& value) { value = in_.integer(name, 1, kMostDegree).value_or(value); }

  void batch() {
    job_.batch = {.seq = required("--seq-length"), .global_batch = required("--global-batch-size")};
    s_.micro_batch = required("--micro-batch-size", kMostDegree);
  }

  void degrees() {
    degree("--tensor-model-parallel-size", s_.tp);
    // Megatron-LM turns it off itself without tensor parallelism.
    s_.sp = in_.on("--sequence-parallel") && s_.tp > 1;
    degree("--pipeline-model-parallel-size", s_.pp);
    degree("--context-parallel-size", s_.cp);
    s_.cp_kind = in_.one_of("--cp-comm-type", kMegatronContextParallel).value_or(s_.cp_kind);
    degree("--expert-model-parallel-size", s_.ep);
    s_.etp = is_moe() ? s_.tp : 1;
    degree("--expert-tensor-parallel-size", s_.etp);
    if (!is_moe()) s_.etp = 1;
    if (in_.on("--use-tp-pp-dp-mapping")) s_.order = "tp-cp-ep-pp-dp";
  }

  void pipeline() {
    const std::int64_t mtp = in_.integer("--mtp-num-layers", 0).value_or(0);
    s_.mtp = mtp > 0 ? Mtp::on : Mtp::off;
    if (mtp > 0 && mtp != job_.model.num_mtp_modules) {
      note(fmt::format("--mtp-num-layers: {} instead of {} of {}", mtp, job_.model.num_mtp_modules, job_.model.name));
      job_.model.num_mtp_modules = mtp;
    }
    read_megatron_stages(in_, job_.model, s_);
    const auto group = in_.integer("--microbatch-group-size-per-virtual-pipeline-stage");
    if (group && s_.vpp > 1 && *group != s_.pp) {
      note(fmt::format("--microbatch-group-size-per-virtual-pipeline-stage {} is read as {}, that is pp", *group,
                       s_.pp));
    }
  }

  void sharding() {
    int zero = in_.on("--use-distributed-optimizer") ? 1 : 0;
    const std::optional<int> strategy = in_.one_of("--data-parallel-sharding-strategy", kMegatronSharding);
    if (in_.on("--use-megatron-fsdp") || in_.on("--use-custom-fsdp")) {
      zero = strategy.value_or(3);
      if (!strategy)
        note("--use-megatron-fsdp without --data-parallel-sharding-strategy is read as optim_grads_params");
    }
    s_.zero_dense = zero;
    s_.zero_expert = is_moe() ? zero : 0;
    degree("--num-distributed-optimizer-instances", s_.num_optimizer_instances);
  }

  void recompute_everywhere(const std::set<RecomputeModule>& modules) {
    for (StageLayout& stage : s_.stages) stage.recompute = modules;
  }

  void recompute() {
    const std::optional<bool> full = in_.one_of("--recompute-granularity", kGranularity);
    const std::optional<bool> block = in_.one_of("--recompute-method", kMethod);
    const std::optional<std::int64_t> layers = in_.integer("--recompute-num-layers");
    std::set<RecomputeModule> modules;
    for (const std::string& name : in_.words("--recompute-modules").value_or(std::vector<std::string>{})) {
      const std::optional<RecomputeModule> module = find_named(kRecomputeModuleNames, name);
      if (!module || module == RecomputeModule::full) {
        in_.problem("--recompute-modules", fmt::format("expected modules that can be recomputed, got \"{}\"", name));
      } else {
        modules.insert(*module);
      }
    }
    if (in_.on("--recompute-activations") || full == false) {
      recompute_everywhere(modules.empty() ? std::set{RecomputeModule::core_attn} : modules);
    }
    if (in_.on("--moe-layer-recompute")) {
      for (StageLayout& stage : s_.stages) stage.recompute.insert(RecomputeModule::moe);
    }
    if (full != true) return;
    recompute_everywhere({RecomputeModule::full});
    if (block == true) {
      for (StageLayout& stage : s_.stages) {
        if (layers && *layers < stage.num_layers) stage.num_recompute_layers = layers;
      }
    } else if (layers.value_or(1) > 1) {
      note(fmt::format("--recompute-num-layers {} with uniform is read as 1: every layer keeps its input", *layers));
    }
  }

  void experts() {
    s_.dispatcher = in_.one_of("--moe-token-dispatcher-type", kMegatronDispatcher).value_or(s_.dispatcher);
    const bool deepep = in_.on("--moe-enable-deepep");
    const std::optional<std::string> backend = in_.word("--moe-flex-dispatcher-backend");
    if (backend && *backend != "deepep") {
      note(fmt::format("--moe-flex-dispatcher-backend {} is read as deepep: once for each node, then inside it",
                       *backend));
    }
    if (deepep) s_.dispatcher = Dispatcher::two_level;
    if (s_.ep == 1 && s_.dispatcher != Dispatcher::all_to_all) {
      note("the dispatcher is read as alltoall, since no row travels");
      s_.dispatcher = Dispatcher::all_to_all;
    }
    s_.capacity_factor = in_.number("--moe-expert-capacity-factor");
    if (s_.capacity_factor && !in_.on("--moe-pad-expert-input-to-capacity")) {
      note("--moe-expert-capacity-factor is read with --moe-pad-expert-input-to-capacity");
    }
  }

  void overlap() {
    Overlap& on = s_.overlap;
    const bool buckets = in_.on("--overlap-grad-reduce");
    const bool gather = in_.on("--overlap-param-gather");
    on.dp_buckets = buckets && s_.zero_dense <= 1;
    if (on.dp_buckets && s_.zero_dense == 1 && !gather) {
      note("--overlap-grad-reduce without --overlap-param-gather is read as both");
    }
    if (in_.on("--overlap-param-gather-with-optimizer-step")) {
      note("--overlap-param-gather-with-optimizer-step is not read: weights are gathered behind the update");
    }
    on.tp = in_.on("--tp-comm-overlap");
    on.ep_batch_level = in_.on("--overlap-moe-expert-parallel-comm");
    on.delayed_wgrad = in_.on("--delay-wgrad-compute");
    on.shared_expert = in_.on("--moe-shared-expert-overlap");
  }

  void precision() {
    s_.precision = DType::f32;
    if (in_.on("--bf16")) s_.precision = DType::bf16;
    if (in_.on("--fp16")) {
      s_.precision = DType::bf16;
      note("--fp16 is read as --bf16, which has its sizes and rates");
    }
    const std::optional<std::string> format = in_.word("--fp8-format");
    const std::optional<std::string> recipe = in_.word("--fp8-recipe");
    const bool gathers_in_fp8 = in_.on("--fp8-param-gather");
    const bool reuses_gradients = in_.on("--reuse-grad-buf-for-mxfp8-param-ag");
    if (gathers_in_fp8 || reuses_gradients) {
      note("--fp8-param-gather is not read: weights are stored and gathered in bf16");
    }
    if (in_.on("--first-last-layers-bf16")) {
      note("--first-last-layers-bf16 is not read: every layer computes in the same type");
    }
    in_.on("--moe-router-padding-for-fp8");  // rows that an expert gets more are not counted
    in_.on("--moe-router-padding-for-quantization");
    if (format) {
      s_.precision = DType::fp8;
      s_.fp8_recipe = fp8_recipe(recipe.value_or("delayed"));
    }
    s_.fp8_activation_input = in_.on("--activation-func-fp8-input-store");
    const bool bf16_messages = in_.on("--grad-reduce-in-bf16");
    const bool f32_gradients = in_.on("--accumulate-allreduce-grads-in-fp32");
    const std::optional<DType> main_grads = in_.one_of("--main-grads-dtype", kStateTypes);
    if (bf16_messages && f32_gradients) {
      in_.problem("--grad-reduce-in-bf16", "expected it without --accumulate-allreduce-grads-in-fp32");
    }
    if (bf16_messages || (main_grads == DType::bf16 && !f32_gradients))
      s_.grad_dtype = s_.grad_wire_dtype = DType::bf16;
  }

  Fp8Recipe fp8_recipe(const std::string& name) {
    if (const std::optional<Fp8Recipe> recipe = find_named(kFp8RecipeNames, name)) return *recipe;
    note(fmt::format("--fp8-recipe {} is read as tensorwise", name));
    return Fp8Recipe::tensorwise;
  }

  void optimizer() {
    const std::string name = in_.word("--optimizer").value_or("adam");
    if (name == "muon" || name == "dist_muon") {
      s_.optimizer = OptimizerKind::muon;
      if (name == "dist_muon") s_.zero_dense = 1;
      if (name == "dist_muon" && is_moe()) s_.zero_expert = 1;
    } else if (name != "adam") {
      in_.expected_one_of("--optimizer", {"adam", "muon", "dist_muon"}, name);
    }
    in_.on("--use-precision-aware-optimizer");
    const auto first = in_.one_of("--exp-avg-dtype", kStateTypes);
    const auto second = in_.one_of("--exp-avg-sq-dtype", kStateTypes);
    if (first.value_or(DType::f32) != second.value_or(DType::f32)) {
      note("one moment in bf16 is read as both in f32");
    } else {
      s_.moment_dtype = first.value_or(DType::f32);
    }
    const std::optional<std::string> masters = in_.word("--main-params-dtype");
    if (masters && *masters != "fp32") {
      s_.master_dtype = DType::bf16;
      note(fmt::format("--main-params-dtype {} is read as bf16, which has its size", *masters));
    }
    s_.offload_optimizer = in_.on("--optimizer-cpu-offload");
  }

  void graphs_and_offload() {
    const std::string impl = in_.word("--cuda-graph-impl").value_or("none");
    in_.words("--cuda-graph-modules");
    in_.words("--cuda-graph-scope");
    const bool older = in_.on("--enable-cuda-graph"), external = in_.on("--external-cuda-graph");
    s_.cuda_graphs = impl != "none" || older || external;
    s_.offload_activations = in_.on("--fine-grained-activation-offloading");
    in_.words("--offload-modules");
  }

  void the_rest() {
    for (const std::string& name : in_.unread()) {
      if (std::ranges::find(kNotModelled, name) != std::end(kNotModelled)) {
        in_.problem(name, "expected a job without it: no strategy says what it does");
        continue;
      }
      const bool harmless =
          std::ranges::any_of(kHarmless, [&](std::string_view known) { return name.starts_with(known); });
      if (!harmless) job_.unknown.push_back(name);
    }
  }

  ArgumentList in_;
  MegatronJob job_;
  Strategy& s_ = job_.strategy;
};

}  // namespace

MegatronJob read_megatron_arguments(std::string_view text, const std::string& file, const Model& model) {
  return Reader(text, file, model).run();
}

}  // namespace orrery::planner
