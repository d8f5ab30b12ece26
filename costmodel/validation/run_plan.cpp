// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/run_plan.h"

#include "base/check.h"
#include "base/lower_case.h"
#include "costmodel/validation/bridge_recipes.h"
#include "program/layout_text.h"
#include "program/names.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include <fmt/format.h>

namespace orrery::costmodel {
namespace {

// nanotron's benchmark ties embeddings of models whose feed-forward is narrower (scripts/scaling_benchmarks.py), which
// the rows of failed runs do not tell.
constexpr std::int64_t kNanotronTiesBelow = 10000;

/// Collects what had to be assumed and why a run has to be refused; the first refusal holds.
struct Reading {
  const RunsFile& file;
  const PublishedRun& run;
  RunPlan plan;
  BridgeRecipe recipe;  // of Megatron-Bridge, else nothing
  std::optional<std::string> refusal;

  void assume(std::string what) {
    const auto& known = plan.assumptions;
    if (std::find(known.begin(), known.end(), what) == known.end()) plan.assumptions.push_back(std::move(what));
  }
  void refuse(std::string reason) {
    if (!refusal) refusal = std::move(reason);
  }
};

bool says(const PublishedRun& run, std::string_view text) {
  const auto has = [&](const std::string& words) { return words.find(text) != std::string::npos; };
  return std::any_of(run.flags.begin(), run.flags.end(), has) || has(run.model_label.value_or(""));
}

/// The width of the feed-forward that the file gives other models of this depth and width.
std::optional<std::int64_t> ffn_of_siblings(const RunsFile& file, const RunModel& model) {
  std::set<std::int64_t> widths;
  for (const PublishedRun& other : file.runs) {
    if (!other.model_inline || !other.model_inline->ffn) continue;
    const RunModel& sibling = *other.model_inline;
    if (sibling.layers == model.layers && sibling.hidden == model.hidden) widths.insert(*sibling.ffn);
  }
  if (widths.size() != 1) return std::nullopt;
  return *widths.begin();
}

/// Megatron pads the vocabulary to a multiple of 128 for each rank of tensor parallelism.
constexpr std::int64_t kVocabularyMultiple = 128;

/// Software without a preset is timed as the trainer that most others are built on; nothing is said of its memory.
void read_software(Reading& in) {
  const std::optional<Framework> known = framework_of(in.run.software);
  in.plan.framework = known.value_or(megatron());
  in.plan.framework_is_known = known.has_value();
  if (in.plan.framework.name == megatron_bridge().name) in.recipe = bridge_recipe_of(in.run);
  if (!known) in.assume("software without a preset: as " + std::string(in.plan.framework.name));
}

void read_model(Reading& in) {
  RunModel model = in.file.model_of(in.run);
  if (in.plan.framework.name == nanotron().name) {
    if (!model.ffn) {
      model.ffn = ffn_of_siblings(in.file, model);
      in.assume("ffn: as in the other rows of this depth and width");
    }
    if (!model.kv_heads) in.assume("kv_heads: as many as heads");
    if (model.ffn) model.tied_embeddings = *model.ffn < kNanotronTiesBelow;
  }
  const auto described = described_model(in.run.model, model);
  if (const auto* refused = std::get_if<NotModelled>(&described)) return in.refuse(refused->reason);
  const auto& found = std::get<DescribedModel>(described);
  in.plan.model = found.model;
  for (const std::string& assumption : found.assumptions) in.assume(assumption);
  if (in.plan.model.tied_embeddings && in.run.pp > 1) {
    in.plan.model.tied_embeddings = false;
    in.assume("tied embeddings: the first and the last stage hold a copy each");
  }
  const std::int64_t multiple = kVocabularyMultiple * in.run.tp;
  const bool is_padded = in.plan.framework.pads_vocabulary && in.plan.model.vocab % multiple != 0;
  if (is_padded || in.plan.model.vocab % in.run.tp != 0) {
    in.plan.model.vocab = (in.plan.model.vocab + multiple - 1) / multiple * multiple;
    in.assume("vocabulary padded to a multiple of 128 for each rank of tensor parallelism");
  }
  if (in.plan.model.num_mtp_modules > 0 && says(in.run, "w/o MTP")) in.plan.model.num_mtp_modules = 0;
  if (in.plan.model.num_mtp_modules > 0 && in.recipe.no_prediction_module) {
    in.plan.model.num_mtp_modules = 0;
    in.assume("no prediction module, as in Megatron-Bridge's recipe");
  }
}

/// What words of a precision mean, the more special ones first. Scales of MX formats belong to 32 elements, those of
/// blocks to 128 ("fp8_sc" of Megatron-Bridge); "fp8", "fp8-current" and "fp8_cs" scale a tensor.
struct PrecisionWord {
  std::string_view word;
  DType type = DType::fp8;
  Fp8Recipe recipe = Fp8Recipe::tensorwise;
};
constexpr PrecisionWord kPrecisionWords[] = {{"fp4", DType::fp8, Fp8Recipe::mxfp8},
                                             {"mx", DType::fp8, Fp8Recipe::mxfp8},
                                             {"block", DType::fp8, Fp8Recipe::blockwise},
                                             {"fp8_sc", DType::fp8, Fp8Recipe::blockwise},
                                             {"fp8-sc", DType::fp8, Fp8Recipe::blockwise},
                                             {"fp8"},
                                             {"float8"},
                                             {"bf16", DType::bf16},
                                             {"bfloat16", DType::bf16},
                                             {"fp16", DType::bf16},
                                             {"float16", DType::bf16},
                                             {"32", DType::f32}};

void read_precision(Reading& in) {
  const std::string words = lower_case(in.run.precision);
  const auto has = [&](std::string_view word) { return words.find(word) != std::string::npos; };
  const auto found = std::find_if(std::begin(kPrecisionWords), std::end(kPrecisionWords),
                                  [&](const PrecisionWord& known) { return has(known.word); });
  if (found == std::end(kPrecisionWords)) return in.refuse("precision " + in.run.precision);
  in.plan.strategy.precision = found->type;
  in.plan.strategy.fp8_recipe = found->recipe;
  if (found->word == "fp16" || found->word == "float16") in.assume("fp16: as bf16, which has its size");
  if (in.plan.framework.name == torchtitan().name && found->type == DType::fp8) {
    // torchtitan casts to float8 inside the product: what it saves is bf16.
    in.plan.strategy.precision = DType::bf16;
    in.plan.casts_inside_products = true;
  }
  if (!has("fp4")) return;
  // Adapters are trained beside weights that stay in 8 bits: such runs take as long as those in fp8.
  in.plan.multiplies_fp4 = !in.plan.trains_adapters;
  in.assume("nvfp4: as mxfp8, at the fp4 rate unless adapters are trained");
}

void read_degrees(Reading& in) {
  const PublishedRun& run = in.run;
  Strategy& strategy = in.plan.strategy;
  strategy.tp = run.tp;
  strategy.pp = run.pp;
  strategy.vpp = run.vpp.value_or(1);
  strategy.cp = run.cp.value_or(1);
  strategy.ep = run.ep.value_or(1);
  strategy.etp = run.etp.value_or(1);
  strategy.micro_batch = run.micro_batch;
  const bool is_scattered = run.tp_mode ? *run.tp_mode == "REDUCE_SCATTER" : in.plan.framework.sequence_parallel;
  strategy.sp = run.tp > 1 && is_scattered;
  if (run.tp * run.pp * strategy.cp * run.dp != run.num_gpus) {
    in.refuse(
        fmt::format("tp * cp * pp * dp is {}, not {} (gpus)", run.tp * run.pp * strategy.cp * run.dp, run.num_gpus));
  }
  int zero = run.zero ? *run.zero : in.plan.framework.zero.value_or(0);
  if (!run.zero) in.assume(fmt::format("zero: {}, the default of {}", zero, in.plan.framework.name));
  const std::int64_t shard = run.fsdp_shard.value_or(0);
  if (shard > 0 && zero < 3) {
    zero = 3;  // Megatron-FSDP, whose rows state the stage of the optimizer alone
    in.assume("fsdp_shard: gradients and weights are sharded too");
  }
  if (shard > 0 && run.dp % shard == 0) strategy.num_optimizer_instances = run.dp / shard;
  strategy.zero_dense = zero;
  strategy.zero_expert = in.plan.model.moe ? zero : 0;
  strategy.grad_dtype = in.plan.framework.grad_dtype;
  strategy.grad_wire_dtype = in.plan.framework.grad_dtype;
}

void read_schedule(Reading& in) {
  const PublishedRun& run = in.run;
  Strategy& strategy = in.plan.strategy;
  strategy.schedule = strategy.vpp > 1 ? Schedule::interleaved : Schedule::one_f_one_b;
  if (run.schedule) {
    const std::optional<Schedule> schedule = find_named(kScheduleNames, *run.schedule);
    if (!schedule) return in.refuse("schedule " + *run.schedule);
    strategy.schedule = *schedule;
  }
}

/// Whether a text names a library that sends a token once to each node or domain: DeepEP, HybridEP, NCCL EP.
bool sends_tokens_once(std::string dispatcher) {
  dispatcher = lower_case(std::move(dispatcher));
  std::erase_if(dispatcher, [](char c) { return c == ' ' || c == '_' || c == '-'; });
  constexpr std::string_view kLibraries[] = {"deepep", "hybridep", "ncclep"};
  return std::any_of(std::begin(kLibraries), std::end(kLibraries),
                     [&](std::string_view name) { return dispatcher.find(name) != std::string::npos; });
}

// moe_hybridep_num_sms of every benchmark with HybridEP (Megatron-Bridge, perf_recipes/_common.py, before it
// scripts/performance/utils/overrides.py). Its calls are dispatch_with_permute and combine_with_unpermute (Megatron-LM,
// moe/fused_a2a.py), on the stream of communications where exchanges run beside compute
// (models/gpt/fine_grained_callables.py, moe_dispatch and moe_combine).
constexpr double kHybridEpMultiprocessors = 32.0;

/// What the row leaves unsaid of kernels and exchanges and the recipe that it was run with says.
void read_recipe(Reading& in) {
  const BridgeRecipe& recipe = in.recipe;
  Strategy& strategy = in.plan.strategy;
  if (recipe.fused_experts) {
    in.plan.framework.fused_experts = true;
    in.assume("experts: one kernel, as in Megatron-Bridge's recipe");
  }
  if (recipe.graphs_whole_iteration && in.run.cuda_graph.empty()) {
    strategy.cuda_graphs = true;
    in.assume("cuda_graph: the whole iteration, as in Megatron-Bridge's recipe");
  }
  if (recipe.attends_in_fp8 && strategy.precision == DType::fp8) {
    in.plan.attends_in_fp8 = true;
    in.assume("attention: in fp8, as in Megatron-Bridge's recipe");
  }
  if (recipe.fp8_head && strategy.precision == DType::fp8) {
    in.plan.fp8_head = true;
    in.assume("head: in fp8, as in Megatron-Bridge's recipe");
  }
  if (recipe.sends_tokens_once && !in.run.dispatcher && strategy.ep > 1) {
    strategy.dispatcher = Dispatcher::two_level;
    in.assume("dispatcher: tokens are sent once, as in Megatron-Bridge's recipe");
  }
  if (recipe.overlaps_tensors && strategy.sp && !in.run.overlap.contains("tp_comm")) {
    strategy.overlap.tp = true;
    in.assume("overlap: of tensor parallelism, as in Megatron-Bridge's recipe");
  }
  // Megatron runs forward beside backward where a rank has several micro-batches or chunks at hand.
  const bool can_overlap = strategy.ep > 1 && (strategy.pp == 1 || strategy.vpp > 1);
  if (recipe.overlaps_exchanges && !in.run.overlap.contains("moe_a2a") && can_overlap) {
    strategy.overlap.ep_batch_level = strategy.overlap.delayed_wgrad = true;
    if (strategy.dispatcher == Dispatcher::two_level) {
      in.plan.framework.exchange_holds = kHybridEpMultiprocessors;
      in.plan.sorts_in_exchanges = true;
    }
    in.assume("overlap: exchanges beside another micro-batch, as in Megatron-Bridge's recipe");
  }
}

void read_timing_choices(Reading& in) {
  Strategy& strategy = in.plan.strategy;
  const auto is_on = [&](const char* key) {
    const auto found = in.run.overlap.find(key);
    return found != in.run.overlap.end() && found->second;
  };
  const bool is_stated = in.run.overlap.contains("grad_reduce");
  strategy.overlap.dp_buckets = is_stated ? is_on("grad_reduce") : in.plan.framework.overlaps_gradients;
  if (strategy.zero_dense > 1 || strategy.zero_expert > 1) strategy.overlap.dp_buckets = false;  // units are their own
  strategy.overlap.tp = is_on("tp_comm") || is_on("async_tp");
  strategy.overlap.ep_batch_level = is_on("moe_a2a");
  strategy.overlap.delayed_wgrad = is_on("delayed_wgrad");
  strategy.overlap.shared_expert = is_on("shared_expert");
  // Graphs of a few modules spare little of the host's time.
  const auto& graphs = in.run.cuda_graph;
  strategy.cuda_graphs = std::find(graphs.begin(), graphs.end(), "full_iteration") != graphs.end();
  if (in.run.dispatcher && sends_tokens_once(*in.run.dispatcher)) strategy.dispatcher = Dispatcher::two_level;
  read_recipe(in);
}

/// The modules that a row names, in our words; `selective` is a word of the framework.
std::optional<std::set<RecomputeModule>> recomputed_modules(Reading& in) {
  std::set<RecomputeModule> modules;
  if (in.run.recompute.empty() && !in.run.recompute_known && !in.recipe.recompute.empty()) {
    in.assume("recompute: as in Megatron-Bridge's recipe");
    return in.recipe.recompute;
  }
  for (const std::string& name : in.run.recompute) {
    if (const std::optional<RecomputeModule> module = find_named(kRecomputeModuleNames, name)) {
      modules.insert(*module);
    } else if (name == "selective" && in.plan.framework.name == torchtitan().name) {
      in.plan.framework.saves_every_second_product = true;  // its option "op", the default of its configurations
    } else if (name == "selective") {
      modules.insert(RecomputeModule::core_attn);  // Megatron's default modules of selective recomputation
    } else {
      in.refuse("recompute " + name);
      return std::nullopt;
    }
  }
  return modules;
}

/// Stages as Megatron's layouts write them. They also say how many prediction modules train, and may say vpp.
void read_layout(Reading& in, const std::string& text) {
  Strategy& strategy = in.plan.strategy;
  auto parsed = parse_layout(text);
  if (const auto* problem = std::get_if<LayoutTextProblem>(&parsed)) {
    return in.refuse(fmt::format("pipeline_layout: at character {} {}", problem->position, problem->message));
  }
  auto stages = std::get<std::vector<StageLayout>>(std::move(parsed));
  const auto num_stages = static_cast<std::int64_t>(stages.size());
  if (strategy.vpp == 1 && num_stages % strategy.pp == 0) strategy.vpp = num_stages / strategy.pp;
  if (num_stages != strategy.num_stages()) {
    return in.refuse(
        fmt::format("pipeline_layout: {} stages, not {} x {} (pp x vpp)", num_stages, strategy.pp, strategy.vpp));
  }
  std::int64_t layers = 0, modules = 0;
  for (const StageLayout& stage : stages) {
    layers += stage.num_layers;
    modules += stage.num_mtp;
  }
  if (layers != in.plan.model.num_layers()) {
    return in.refuse(fmt::format("pipeline_layout: {} layers, not {}", layers, in.plan.model.num_layers()));
  }
  if (modules != in.plan.model.num_mtp_modules) {
    in.plan.model.num_mtp_modules = modules;
    in.assume(fmt::format("pipeline_layout: {} prediction modules", modules));
  }
  strategy.stages = std::move(stages);
}

std::string layout_of_recipe(const Reading& in) {
  if (in.plan.framework.name != megatron_bridge().name) return "";
  const Model& model = in.plan.model;
  return bridge_layout_of(in.run, model.num_layers(), in.plan.strategy.num_stages(), model.num_mtp_modules);
}

void read_stages(Reading& in) {
  Strategy& strategy = in.plan.strategy;
  const Model& model = in.plan.model;
  const std::int64_t num_stages = strategy.num_stages();
  if (in.run.pipeline_layout) {
    read_layout(in, *in.run.pipeline_layout);
    if (in.refusal) return;
  } else if (const std::string layout = layout_of_recipe(in); !layout.empty()) {
    in.assume("pipeline_layout: as in Megatron-Bridge's recipe");
    read_layout(in, layout);
    if (in.refusal) return;
  } else if (in.plan.framework.stage_split == StageSplit::by_cost) {
    strategy.stages = stages_by_cost(model, num_stages);
  } else if (num_stages <= most_stages(model.num_layers())) {
    strategy.stages = with_mtp(even_stages(model.num_layers(), num_stages), model.num_mtp_modules);
    // Megatron: --account-for-{embedding,loss}-in-pipeline-split.
    if (num_stages > model.num_layers()) in.assume("embedding and loss count as a layer each");
  } else {
    return in.refuse(fmt::format("{} layers on {} stages", model.num_layers(), num_stages));
  }
  if (model.num_mtp_modules > 0) strategy.mtp = Mtp::on;
  if (const auto modules = recomputed_modules(in)) {
    for (StageLayout& stage : strategy.stages) stage.recompute = *modules;
  }
  in.plan.recompute_is_stated = in.run.recompute_known || in.plan.framework.recompute_is_none;
}

}  // namespace

std::string reason_of(const Violation& violation) {
  constexpr std::string_view kNotLowered = " not lowered yet";
  const std::string& text = violation.expected;
  if (text.ends_with(kNotLowered)) {
    const std::size_t colon = text.rfind(": ");
    if (colon != std::string::npos) return text.substr(colon + 2);
  }
  std::string key;
  for (const char c : violation.key) {
    if (c < '0' || c > '9')
      key += c;
    else if (!key.ends_with('*'))
      key += '*';
  }
  return fmt::format("strategy: /{}: {}", key, text.substr(0, text.rfind(", got ")));
}

std::string catalog_device(const std::string& gpu) {
  constexpr std::pair<std::string_view, std::string_view> kNames[] = {{"A100-SXM-40GB", "a100-40gb"},
                                                                      {"A100-SXM-80GB", "a100"},
                                                                      {"B200", "b200"},
                                                                      {"B300", "b300"},
                                                                      {"GB200", "gb200"},
                                                                      {"GB300", "gb300"},
                                                                      {"H100-SXM-80GB", "h100"},
                                                                      {"H100-SXM-96GB-500W", "h100-96gb"},
                                                                      {"H200-SXM-141GB", "h200"},
                                                                      {"H200-NVL-141GB", "h200-nvl"},
                                                                      {"L40S", "l40s"},
                                                                      {"MI325X", "mi325x"},
                                                                      {"MI350X", "mi350x"},
                                                                      {"H800-SXM-80GB", "h800"},
                                                                      {"MI300X", "mi300x"},
                                                                      {"MI355X", "mi355x"}};
  for (const auto& [name, file] : kNames) {
    if (name == gpu) return std::string(file);
  }
  return "";
}

std::vector<StageLayout> stages_by_cost(const Model& model, std::int64_t num_stages) {
  CHECK(num_stages >= 1 && !model.is_mla() && !model.moe, num_stages);
  const auto h = static_cast<double>(model.hidden);
  const double layer = h * (4.0 * h + 3.0 * static_cast<double>(model.dense_width));
  const double head = h * static_cast<double>(model.vocab);
  const double total = layer * static_cast<double>(model.num_layers()) + head;
  std::vector<std::int64_t> counts(static_cast<std::size_t>(num_stages));
  std::size_t stage = 0;
  double cost = 0.0;
  const auto add = [&](double block) {
    cost += block;
    const double share = total * (static_cast<double>(stage + 1) / static_cast<double>(num_stages));
    if (cost >= share && stage + 1 < counts.size()) ++stage;
  };
  for (std::int64_t i = 0; i < model.num_layers(); ++i) {
    ++counts[stage];
    add(layer);
  }
  return stages_of_counts(counts);
}

Strategy without_timing_choices(Strategy strategy) {
  strategy.overlap = {};
  strategy.cuda_graphs = false;
  strategy.dispatcher = Dispatcher::all_to_all;
  return strategy;
}

std::variant<RunPlan, NotModelled> plan_of(const RunsFile& file, const PublishedRun& run) {
  Reading in{.file = file, .run = run, .plan = {}, .recipe = {}, .refusal = {}};
  constexpr std::string_view kTasks[] = {"pretrain", "pretrain_performance", "sft", "lora"};
  if (std::find(std::begin(kTasks), std::end(kTasks), run.task) == std::end(kTasks)) {
    return NotModelled{"task: " + run.task};
  }
  read_software(in);
  in.plan.trains_adapters = run.task == "lora";
  if (in.plan.trains_adapters) in.assume("LoRA: the adapters' own products and gradients take no time");
  in.plan.batch = {.seq = run.seq, .global_batch = run.global_batch};
  in.plan.num_devices = run.num_gpus;
  in.plan.device = catalog_device(run.gpu);
  read_model(in);
  if (in.refusal) return NotModelled{*in.refusal};
  read_precision(in);
  read_degrees(in);
  read_stages(in);
  read_schedule(in);
  read_timing_choices(in);
  if (in.refusal) return NotModelled{*in.refusal};
  if (in.plan.trains_adapters) in.plan.framework = training_adapters(in.plan.framework);
  return std::move(in.plan);
}

}  // namespace orrery::costmodel
