// SPDX-License-Identifier: Apache-2.0
// strategy/1, read and written (docs/formats/strategy.md).
#include "base/files.h"
#include "program/dimension_rules.h"
#include "program/json_parts.h"
#include "program/layout_text.h"
#include "program/names.h"
#include "program/plan.h"
#include "program/strategy_check.h"

#include <algorithm>
#include <utility>
#include <variant>

#include <fmt/format.h>

namespace orrery {
namespace {

constexpr IntegerRange kDegree{.min = 1, .max = kMostDegree};
constexpr IntegerRange kZeroStage{.min = 0, .max = 3};

std::set<RecomputeModule> read_recompute(const JsonValue& in) {
  if (in.kind() == JsonKind::string) {
    in.one_of({"full"});
    return {RecomputeModule::full};
  }
  std::set<RecomputeModule> modules;
  for (const JsonValue& name : in.array()) {
    if (!modules.insert(name.one_of<RecomputeModule>(kRecomputeModuleNames)).second) {
      name.problem(fmt::format("expected each module once, got \"{}\" again", name.string()));
    }
  }
  return modules;
}

StageLayout read_stage(const JsonObject& in) {
  StageLayout stage;
  stage.first_layer = in.required("first_layer").integer({.min = 0});
  stage.num_layers = in.required("num_layers").integer({.min = 0});
  stage.embedding = in.optional("embedding").boolean().value_or(false);
  stage.head = in.optional("head").boolean().value_or(false);
  stage.num_mtp = in.optional("mtp").integer({.min = 0, .max = 16}).value_or(0);
  const OptionalJsonValue recompute = in.optional("recompute");
  if (recompute.present()) stage.recompute = read_recompute(recompute.value());
  stage.num_recompute_layers = in.optional("recompute_layers").integer({.min = 1});
  in.finish();
  return stage;
}

// Stages of a layout text; none after a problem.
std::vector<StageLayout> read_layout(const JsonValue& in) {
  auto parsed = parse_layout(in.string());
  if (const auto* problem = std::get_if<LayoutTextProblem>(&parsed)) {
    in.problem(fmt::format("expected \"even\", a list of stages or a layout: at character {} {}", problem->position,
                           problem->message),
               "a layout is E for the embedding, t for a layer, m for a prediction module and L for the head, with | "
               "between stages: \"Et|(tt|)*6tL\"");
    return {};
  }
  return std::get<std::vector<StageLayout>>(std::move(parsed));
}

// What becomes of stages that are more than can be laid: a problem of the file, or as many stages as can be, for who
// asks the rules about them.
enum class TooManyStages : std::uint8_t { problem, as_many_as_can_be };

// "even", a layout text, or one object for each stage. `recompute` beside the first two holds for all stages.
std::vector<StageLayout> read_stages(const JsonObject& in, const Strategy& strategy, const Model& model,
                                     TooManyStages too_many) {
  const OptionalJsonValue stages = in.optional("stages");
  const OptionalJsonValue recompute = in.optional("recompute");
  if (stages.present() && stages.value().kind() == JsonKind::array) {
    if (recompute.present()) recompute.value().problem("expected recompute in each stage, since stages are listed");
    std::vector<StageLayout> layouts;
    for (const JsonValue& stage : stages.value().array()) layouts.push_back(read_stage(stage.object()));
    return layouts;
  }
  if (model.num_layers() == 0) return {};  // it was not read, which is a problem already
  const std::int64_t most = most_stages(model.num_layers());
  std::vector<StageLayout> layouts;
  if (stages.present() && stages.value().kind() != JsonKind::string) {
    stages.value().problem("expected \"even\", a layout such as \"Et|(tt|)*6tL\", or an array of stages");
    return {};
  }
  if (stages.present() && !stages.value().is_text("even")) {
    layouts = read_layout(stages.value());
  } else if (strategy.num_stages() > most && too_many == TooManyStages::problem) {
    report({too_many_stages(model, strategy)}, in);
    return {};
  } else {
    layouts = even_stages(model.num_layers(), std::min(strategy.num_stages(), most));
  }
  if (recompute.present()) {
    const std::set<RecomputeModule> modules = read_recompute(recompute.value());
    for (StageLayout& stage : layouts) stage.recompute = modules;
  }
  return layouts;
}

// The switches of Overlap by their keys.
constexpr std::pair<const char*, bool Overlap::*> kOverlapKeys[] = {{"dp_buckets", &Overlap::dp_buckets},
                                                                    {"tp", &Overlap::tp},
                                                                    {"ep_batch_level", &Overlap::ep_batch_level},
                                                                    {"delayed_wgrad", &Overlap::delayed_wgrad},
                                                                    {"shared_expert", &Overlap::shared_expert}};

Overlap read_overlap(const OptionalJsonValue& in) {
  Overlap overlap;
  if (!in.present()) return overlap;
  const JsonObject object = in.value().object();
  for (const auto& [key, member] : kOverlapKeys) overlap.*member = object.optional(key).boolean().value_or(false);
  object.finish();
  return overlap;
}

Strategy read(const JsonObject& in, const Model& model, TooManyStages too_many) {
  Strategy out;
  const auto integer = [&](const char* key, std::int64_t& value, IntegerRange range = kDegree) {
    value = in.optional(key).integer(range).value_or(value);
  };
  const auto boolean = [&](const char* key, bool& value) { value = in.optional(key).boolean().value_or(value); };
  const auto choice = [&](const char* key, auto& value, const auto& names) {
    value = in.optional(key).template one_of<std::remove_reference_t<decltype(value)>>(names).value_or(value);
  };
  in.schema("strategy/1");
  integer("tp", out.tp);
  boolean("sp", out.sp);
  integer("pp", out.pp);
  integer("vpp", out.vpp, {.min = 1, .max = 1024});
  integer("cp", out.cp);
  choice("cp_kind", out.cp_kind, kContextParallelNames);
  integer("ep", out.ep);
  integer("etp", out.etp);
  out.zero_dense = in.optional("zero_dense").integer<int>(kZeroStage).value_or(0);
  out.zero_expert = in.optional("zero_expert").integer<int>(kZeroStage).value_or(0);
  integer("num_optimizer_instances", out.num_optimizer_instances);
  integer("micro_batch", out.micro_batch);
  choice("schedule", out.schedule, kScheduleNames);
  out.stages = read_stages(in, out, model, too_many);
  choice("dispatcher", out.dispatcher, kDispatcherNames);
  out.capacity_factor = in.nullable("capacity_factor").number({.min = 0.0});
  out.overlap = read_overlap(in.optional("overlap"));
  boolean("cuda_graphs", out.cuda_graphs);
  boolean("offload_optimizer", out.offload_optimizer);
  boolean("offload_activations", out.offload_activations);
  choice("precision", out.precision, kFloatNames);
  choice("fp8_recipe", out.fp8_recipe, kFp8RecipeNames);
  boolean("fp8_activation_input", out.fp8_activation_input);
  choice("optimizer", out.optimizer, kOptimizerNames);
  choice("master_dtype", out.master_dtype, kFloatNames);
  choice("moment_dtype", out.moment_dtype, kFloatNames);
  choice("grad_dtype", out.grad_dtype, kGradientNames);
  choice("grad_wire_dtype", out.grad_wire_dtype, kGradientNames);
  choice("mtp", out.mtp, kMtpNames);
  const auto has_modules = [](const StageLayout& stage) { return stage.num_mtp > 0; };
  if (out.mtp == Mtp::on && !out.stages.empty() && std::none_of(out.stages.begin(), out.stages.end(), has_modules)) {
    out.stages = with_mtp(std::move(out.stages), model.num_mtp_modules);
  }
  out.order = in.optional("order").string().value_or(out.order);
  if (const OptionalJsonValue islands = in.optional("islands"); islands.present()) {
    islands.value().problem("expected no islands: a strategy with parts of its own per node group is not lowered yet");
  }
  in.optional("dp").integer(kDegree);  // wrong_dp, once the number of devices is known
  in.finish();
  return out;
}

// The derived degree "dp", if the strategy states another than there is. Nothing where other degrees leave none.
std::optional<Violation> wrong_dp(const JsonObject& in, const Strategy& strategy, std::int64_t num_devices) {
  const std::optional<std::int64_t> stated = in.optional("dp").integer(kDegree);
  const std::int64_t product = strategy.tp * strategy.cp * strategy.pp;
  if (!stated || num_devices % product != 0 || *stated == num_devices / product) return std::nullopt;
  return Violation{
      .key = "dp",
      .expected = fmt::format("expected {} (devices / (tp * cp * pp)), got {}", num_devices / product, *stated),
      .hint = "dp follows from the rest: leave it out"};
}

}  // namespace

Strategy read_strategy(const JsonObject& in, const Model& model) { return read(in, model, TooManyStages::problem); }

void check_stated_dp(const JsonObject& in, const Strategy& strategy, std::int64_t num_devices) {
  if (const auto violation = wrong_dp(in, strategy, num_devices)) report({*violation}, in);
}

StrategyCheck check_strategy(const std::filesystem::path& path, const Model& model, const BatchShape& batch,
                             std::int64_t num_devices) {
  const JsonDocument document = JsonDocument::parse_file(path.string());
  const JsonObject root = document.root();
  StrategyCheck out{.strategy = read(root, model, TooManyStages::as_many_as_can_be), .broken = {}};
  document.throw_if_problems();
  out.broken = violations(model, out.strategy, batch, num_devices);
  if (auto dp = wrong_dp(root, out.strategy, num_devices)) out.broken.push_back(std::move(*dp));
  return out;
}

Strategy read_strategy(const std::filesystem::path& path, const Model& model) {
  const JsonDocument document = JsonDocument::parse_file(path.string());
  Strategy strategy = read_strategy(document.root(), model);
  document.throw_if_problems();
  return strategy;
}

Strategy read_strategy(const std::filesystem::path& path, const Model& model, const BatchShape& batch,
                       std::int64_t num_devices) {
  return read_strategy_text(read_file(path.string()), path.string(), model, batch, num_devices);
}

Strategy read_strategy_text(const std::string& text, const std::string& file, const Model& model,
                            const BatchShape& batch, std::int64_t num_devices) {
  const JsonDocument document = JsonDocument::parse_text(text, file);
  const JsonObject root = document.root();
  Strategy strategy = read_strategy(root, model);
  document.throw_if_problems();
  report(violations(model, strategy, batch, num_devices), root);
  check_stated_dp(root, strategy, num_devices);
  document.throw_if_problems();
  return strategy;
}

}  // namespace orrery
