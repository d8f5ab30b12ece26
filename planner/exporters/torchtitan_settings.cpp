// SPDX-License-Identifier: Apache-2.0
#include "planner/exporters/torchtitan_settings.h"

#include "program/mesh.h"
#include "program/names.h"

#include <map>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace orrery::planner {
namespace {

const std::map<Schedule, std::string_view> kScheduleOf = {{Schedule::gpipe, "GPipe"},
                                                          {Schedule::one_f_one_b, "1F1B"},
                                                          {Schedule::interleaved, "Interleaved1F1B"},
                                                          {Schedule::zbv, "ZBVZeroBubble"},
                                                          {Schedule::dualpipev, "DualPipeV"}};

/// The modules of one stage by their names in the model.
std::string modules_of(const StageLayout& stage) {
  std::vector<std::string> names;
  if (stage.embedding) names.emplace_back("\"tok_embeddings\"");
  for (std::int64_t i = 0; i < stage.num_layers; ++i) {
    names.push_back(fmt::format("\"layers.{}\"", stage.first_layer + i));
  }
  if (stage.head) names.insert(names.end(), {"\"norm\"", "\"output\""});
  return fmt::format("[{}]", fmt::join(names, ", "));
}

class Settings {
 public:
  Settings(const Plan& plan, TorchtitanVersion version, Export& out)
      : plan_(plan),
        s_(plan.strategy),
        head_(version == TorchtitanVersion::head),
        dp_(Mesh(s_, plan.num_ranks()).dp()),
        moe_(plan.model.moe.has_value()),
        out_(out) {}

  std::vector<TorchtitanSetting> all() {
    training();
    data_parallel();
    model_parallel();
    pipeline();
    experts();
    recompute();
    precision();
    optimizer();
    left_out();
    list_placement(plan_, out_);
    return std::move(settings_);
  }

 private:
  void section(std::string_view name) { section_ = name; }
  void value(std::string_view key, std::string text) {
    settings_.push_back({.section = section_, .key = std::string(key), .value = std::move(text)});
  }
  void number(std::string_view key, std::int64_t x) { value(key, std::to_string(x)); }
  void text(std::string_view key, std::string_view x) { value(key, fmt::format("\"{}\"", x)); }
  void boolean(std::string_view key, bool x) { value(key, x ? "true" : "false"); }

  void training() {
    section("training");
    if (head_) {
      number("num_tokens_per_microbatch_per_dp_rank", s_.micro_batch * plan_.batch.seq);
      number("num_tokens_per_train_step", plan_.batch.global_batch * plan_.batch.seq);
      number("max_context_length", plan_.batch.seq);
    } else {
      // One call of a pipeline schedule takes the whole batch of a rank; without one, a call is a micro-batch.
      number("local_batch_size", s_.pp > 1 ? s_.micro_batch * num_micro_batches(plan_) : s_.micro_batch);
      number("global_batch_size", plan_.batch.global_batch);
      number("seq_len", plan_.batch.seq);
    }
    text("mixed_precision_param", s_.precision == DType::f32 ? "float32" : "bfloat16");
    text("mixed_precision_reduce", "float32");
  }

  void data_parallel() {
    section("parallelism");
    if (moe_ && s_.zero_dense != s_.zero_expert) {
      out_.refuse(
          "zero_expert",
          fmt::format("it shards dense parameters and experts alike, not {} and {}", s_.zero_dense, s_.zero_expert),
          s_.zero_dense == 1 ? std::vector<std::string>{} : std::vector{fmt::format("zero_expert={}", s_.zero_dense)});
    }
    if (s_.zero_dense == 1) {
      out_.refuse("zero_dense", "FSDP shards weights and gradients as well: ZeRO 0, 2 or 3",
                  moe_ ? std::vector<std::string>{"zero_dense=2", "zero_expert=2"}
                       : std::vector<std::string>{"zero_dense=0,2,3"});
    }
    const std::int64_t replicas = s_.zero_dense == 0 ? dp_ : s_.num_optimizer_instances;
    if (dp_ % replicas != 0) {
      out_.refuse("num_optimizer_instances",
                  fmt::format("it repeats shards over data-parallel ranks, and {} does not divide {}", replicas, dp_),
                  {"num_optimizer_instances=1"});
      return;
    }
    number("data_parallel_replicate_degree", replicas);
    number("data_parallel_shard_degree", dp_ / replicas);
    if (s_.zero_dense > 1) text("fsdp_reshard_after_forward", s_.zero_dense == 2 ? "never" : "always");
    if (moe_ && (dp_ / replicas * s_.cp * s_.tp) % s_.ep != 0) {
      out_.refuse("ep", fmt::format("it takes expert-parallel ranks from those that shard, dp_shard * cp * tp = {}, "
                                    "which {} does not divide",
                                    dp_ / replicas * s_.cp * s_.tp, s_.ep));
    }
    // Whoever replicates sends gradients in buckets during the backward, whoever shards layer by layer.
    if (s_.zero_dense == 0 && dp_ > 1 && !s_.overlap.dp_buckets) {
      out_.list("overlap/dp_buckets", "written as true: its replicas always exchange gradients during the backward");
    }
    if (s_.overlap.dp_buckets && (dp_ == 1 || s_.zero_dense != 0)) {
      out_.list("overlap/dp_buckets", "left out: nobody exchanges gradients in buckets");
    }
  }

  void model_parallel() {
    number("tensor_parallel_degree", s_.tp);
    if (head_) boolean("enable_sequence_parallel", s_.sp);
    if (!head_ && s_.tp > 1 && !s_.sp) out_.refuse("sp", "it splits sequences wherever it splits tensors");
    if (!head_ && s_.sp && s_.tp == 1) out_.list("sp", "left out: tp is 1");
    if (!head_ && s_.overlap.tp) boolean("enable_async_tensor_parallel", true);
    number("context_parallel_degree", s_.cp);
    if (s_.cp_kind == ContextParallel::ulysses) {
      out_.refuse("cp_kind", "it exchanges keys and values, not heads as \"ulysses\" does",
                  {"cp_kind=ring,all_gather"});
    } else if (head_) {
      if (s_.cp > 1 || s_.cp_kind != ContextParallel::ring) {
        out_.list("cp_kind", fmt::format("in code: the model's attention says whether keys travel by \"{}\"",
                                         name_of(kContextParallelNames, s_.cp_kind)));
      }
    } else {
      text("context_parallel_rotate_method", s_.cp_kind == ContextParallel::ring ? "alltoall" : "allgather");
    }
    if (s_.order != Strategy().order) out_.refuse("order", "its order of ranks is fixed", {default_order_condition()});
  }

  void pipeline() {
    number("pipeline_parallel_degree", s_.pp);
    const auto schedule = kScheduleOf.find(s_.schedule);
    if (schedule == kScheduleOf.end()) {
      out_.refuse("schedule", fmt::format("it has no schedule \"{}\"", name_of(s_.schedule)),
                  {"schedule=gpipe,1f1b,interleaved,zbv,dualpipev"});
    } else if (s_.pp > 1) {
      text("pipeline_parallel_schedule", schedule->second);
    } else if (s_.schedule != Schedule::one_f_one_b) {
      out_.refuse("schedule",
                  fmt::format("without pipeline ranks it runs one micro-batch after the other, not \"{}\"",
                              name_of(s_.schedule)),
                  {"schedule=1f1b"});
    }
    if (s_.mtp == Mtp::on) out_.refuse("mtp", "its models have no prediction modules");
    if (s_.pp == 1 && s_.vpp > 1)
      out_.refuse("vpp", "it has stages on several pipeline ranks alone, and pp is 1", {"vpp=1"});
    if (s_.pp == 1) return;
    if (head_) {
      number("num_pp_microbatches", num_micro_batches(plan_));
    } else {
      number("pipeline_parallel_microbatch_size", s_.micro_batch);
    }
    const bool recomputes = uniform_recompute(s_) != std::set<RecomputeModule>{};
    const bool pairs = s_.schedule == Schedule::dualpipev && s_.ep > 1 && !recomputes;
    if (!head_) boolean("pipeline_parallel_expert_parallel_overlap", pairs);
    if (s_.schedule == Schedule::dualpipev && s_.ep > 1 && recomputes) {
      out_.list("schedule", "its pairs of micro-batches run one after the other where layers are recomputed");
    }
    std::vector<std::string> parts;
    for (const StageLayout& stage : s_.stages) parts.push_back("  " + modules_of(stage));
    value("module_fqns_per_model_part", fmt::format("[\n{},\n]", fmt::join(parts, ",\n")));
  }

  void experts() {
    if (s_.overlap.ep_batch_level)
      out_.list("overlap/ep_batch_level", "left out: it pairs micro-batches of DualPipeV alone");
    if (!moe_) return;
    number("expert_parallel_degree", s_.ep);
    if (head_) {
      if (s_.etp != 1) out_.refuse("etp", "it splits no expert over tensor-parallel ranks any more", {"etp=1"});
      if (s_.dispatcher == Dispatcher::two_level) {
        out_.list("dispatcher", "in code: the model's moe_comm_backend is \"deepep\"");
      }
    } else {
      number("expert_tensor_parallel_degree", s_.etp);
      if (s_.etp != 1 && s_.etp != s_.tp) {
        out_.refuse("etp", fmt::format("it is 1 or the tensor parallel degree {}, not {}", s_.tp, s_.etp), {"etp=1"});
      }
      text("expert_parallel_comm_backend", s_.dispatcher == Dispatcher::two_level ? "deepep" : "standard");
    }
    if (s_.dispatcher == Dispatcher::all_gather) {
      out_.list("dispatcher", "left out: rows travel by all_to_all, not by \"all_gather\"");
    }
    if (s_.capacity_factor) out_.refuse("capacity_factor", "it drops no token");
  }

  void recompute() {
    section("activation_checkpoint");
    if (uniform_recompute(s_) == std::set<RecomputeModule>{}) return text("mode", "none");
    if (recomputes_fully(s_)) return text("mode", "full");
    out_.refuse("stages/recompute", "it recomputes whole layers everywhere or nowhere, or single operators by a list",
                {"recompute=full"});
  }

  void precision() {
    list_unused_fp8_recipe(plan_, out_);
    if (s_.precision != DType::fp8) return;
    if (s_.fp8_recipe == Fp8Recipe::tensorwise && head_) {
      out_.list("precision", "in code: a float8 converter of the linear layers, scaled as \"tensorwise\"");
      if (moe_) out_.list("fp8_recipe", "rows of the experts' products are scaled one by one");
    } else if (s_.fp8_recipe == Fp8Recipe::tensorwise) {
      section("model");
      value("converters",
            fmt::format("[\"quantize.linear.float8\"{}]", moe_ ? ", \"quantize.grouped_mm.float8\"" : ""));
      section("quantize.linear.float8");
      text("recipe_name", "tensorwise");
      if (moe_) {
        section("quantize.grouped_mm.float8");
        value("fqns", "[\"experts\"]");
        out_.list("fp8_recipe", "rows of the experts' products are scaled one by one");
      }
    } else {
      out_.refuse("fp8_recipe", fmt::format("its float8 has one factor for a tensor, not \"{}\"",
                                            name_of(kFp8RecipeNames, s_.fp8_recipe)));
    }
  }

  void optimizer() {
    section("optimizer");
    text("name", "AdamW");
    if (s_.optimizer != OptimizerKind::adamw) out_.refuse("optimizer", "AdamW is what it has a name for");
    const auto f32 = [&](DType type, const char* key, const char* what) {
      if (type != DType::f32) out_.refuse(key, fmt::format("its {} are f32", what));
    };
    f32(s_.master_dtype, "master_dtype", "sharded weights");
    f32(s_.moment_dtype, "moment_dtype", "moments");
    f32(s_.grad_dtype, "grad_dtype", "accumulated gradients");
    f32(s_.grad_wire_dtype, "grad_wire_dtype", "gradient messages");
  }

  void left_out() {
    if (s_.overlap.delayed_wgrad) out_.list("overlap/delayed_wgrad", "left out: its schedules decide that");
    if (s_.overlap.shared_expert) out_.list("overlap/shared_expert", "left out: it has no such switch");
    if (s_.cuda_graphs) out_.list("cuda_graphs", "left out: it has no such switch for a whole step");
    if (s_.offload_optimizer)
      out_.refuse("offload_optimizer", "it offloads weights and gradients with them, or nothing",
                  {"offload_optimizer=0"});
    if (s_.fp8_activation_input) out_.refuse("fp8_activation_input", "it keeps activations in their type");
    if (s_.offload_activations)
      out_.refuse("offload_activations", "it keeps activations on the device", {"offload_activations=0"});
  }

  const Plan& plan_;
  const Strategy& s_;
  const bool head_;
  const std::int64_t dp_;
  const bool moe_;
  Export& out_;
  std::string section_;
  std::vector<TorchtitanSetting> settings_;
};

}  // namespace

std::vector<TorchtitanSetting> torchtitan_settings(const Plan& plan, TorchtitanVersion version, Export& out) {
  return Settings(plan, version, out).all();
}

}  // namespace orrery::planner
