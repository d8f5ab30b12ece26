// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/runs.h"

#include "base/check.h"
#include "base/files.h"
#include "base/json_reader.h"

#include <set>
#include <utility>

#include <fmt/format.h>

namespace orrery::costmodel {
namespace {

constexpr IntegerRange kCount{.min = 1, .max = std::int64_t{1} << 40};
constexpr IntegerRange kSize{.min = 0, .max = std::int64_t{1} << 40};
constexpr NumberRange kNotNegative{.min = 0.0};
// What can be measured of any machine. Beyond lies what programs write where a measurement failed, such as zero.
constexpr NumberRange kStepSeconds{.min = 1e-5, .max = 1e6};
constexpr NumberRange kTokensPerSecond{.min = 1e-3, .max = 1e9};
constexpr NumberRange kGibibytes{.min = 1e-3, .max = 1e5};
constexpr NumberRange kBusGigabytes{.min = 1e-3, .max = 1e5};

std::vector<std::string> texts(const JsonValue& in) {
  std::vector<std::string> out;
  for (const JsonValue& value : in.array()) out.push_back(value.string());
  return out;
}

/// A list of names, or a single one.
std::vector<std::string> texts_or_one(const OptionalJsonValue& in) {
  if (!in.present()) return {};
  if (in.value().kind() == JsonKind::string) return {in.value().string()};
  return texts(in.value());
}

constexpr Named<char> kLayoutSymbols[] = {{"embedding", 'E'}, {"decoder", 't'}, {"mtp", 'm'}, {"loss", 'L'}};

/// A layout as Megatron's text, or as its list of stages: [["embedding", "decoder"], ["decoder", "loss"]].
std::optional<std::string> layout_text_of(const OptionalJsonValue& in) {
  if (!in.present()) return std::nullopt;
  if (in.value().kind() == JsonKind::string) return in.value().string();
  std::string out;
  bool is_first = true;
  for (const JsonValue& stage : in.value().array()) {
    if (!std::exchange(is_first, false)) out += '|';
    for (const JsonValue& layer : stage.array()) out += layer.one_of(kLayoutSymbols);
  }
  return out;
}

RunModel read_run_model(const JsonObject& in) {
  // Keys and what they fill; null means that the source does not say.
  constexpr std::pair<const char*, std::optional<std::int64_t> RunModel::*> kSizes[] = {
      {"layers", &RunModel::layers},
      {"dense_layers", &RunModel::dense_layers},
      {"hidden", &RunModel::hidden},
      {"ffn", &RunModel::ffn},
      {"heads", &RunModel::heads},
      {"kv_heads", &RunModel::kv_heads},
      {"head_dim", &RunModel::head_dim},
      {"vocab", &RunModel::vocab},
      {"q_lora_rank", &RunModel::q_lora_rank},
      {"kv_lora_rank", &RunModel::kv_lora_rank},
      {"qk_nope_dim", &RunModel::qk_nope_dim},
      {"qk_rope_dim", &RunModel::qk_rope_dim},
      {"v_head_dim", &RunModel::v_head_dim},
      {"experts", &RunModel::experts},
      {"topk", &RunModel::topk},
      {"moe_ffn", &RunModel::moe_ffn},
      {"shared_expert_ffn", &RunModel::shared_expert_ffn},
      {"router_groups", &RunModel::router_groups},
      {"router_group_topk", &RunModel::router_group_topk}};
  RunModel out;
  out.type = in.required("type").one_of({"dense", "moe", "hybrid", "hybrid-moe"});
  for (const auto& [key, member] : kSizes) out.*member = in.nullable(key).integer(kSize);
  out.attention = in.nullable("attention").string();
  out.activation = in.nullable("act").string();
  out.norm = in.nullable("norm").string();
  out.moe_layer_freq = in.nullable("moe_layer_freq").string();
  out.mtp = in.nullable("mtp_layers_note").present();
  const std::optional<bool> tied = in.nullable("tied_embedding").boolean();
  out.tied_embeddings = in.nullable("tied_embeddings").boolean().value_or(tied.value_or(false));
  in.ignore({"provenance", "note"});
  in.finish();
  return out;
}

MeasuredRun read_measured(const JsonObject& in) {
  MeasuredRun out;
  const auto size = [&](std::string_view key) -> std::optional<Bytes> {
    const std::optional<double> number = in.optional(key).number(kGibibytes);
    if (!number) return std::nullopt;
    return gib(*number);  // also the keys that end in _gb: docs/formats/runs.md
  };
  const auto time = [&](std::string_view key, NumberRange range) -> std::optional<Seconds> {
    const std::optional<double> number = in.optional(key).number(range);
    if (!number) return std::nullopt;
    return seconds(*number);
  };
  out.step = time("step_s", kStepSeconds);
  out.step_deviation = time("step_stdev_s", kNotNegative);
  out.tokens_per_second_per_gpu = in.optional("tokens_per_s_per_gpu").number(kTokensPerSecond);
  out.published_tflops_per_gpu = in.optional("published_tflops_per_gpu").number(kNotNegative);
  out.allocated_peak = size("mem_alloc_gib");
  out.reserved_peak = size("mem_gib");
  out.allocated_in_update = size("mem_alloc_gb");
  out.reserved_peak_of_first = size("mem_reserved_gb");
  if (in.has("outcome")) {
    in.required("outcome").one_of({"OOM"});
    out.out_of_memory = true;
  }
  if (const auto rates = in.optional("job_busbw_gb_per_s").object()) {
    for (const std::string& key : rates->keys()) {
      out.bus_gigabytes_per_second[key] = rates->required(key).number(kBusGigabytes);
    }
  }
  in.finish();
  return out;
}

RunSource read_source(const JsonObject& in) {
  RunSource out{.repo = in.required("repo").string(),
                .path = in.required("path").string(),
                .commit = in.optional("commit").string(),
                .table = in.optional("table").string(),
                .config = in.optional("config").string()};
  in.finish();
  return out;
}

void read_interconnect(const JsonObject& in, PublishedRun& out) {
  const OptionalJsonValue value = in.optional("interconnect");
  if (!value.present()) return;
  if (value.value().kind() == JsonKind::string) {
    out.interconnect_intra = value.value().string();
    return;
  }
  const JsonObject parts = value.value().object();
  out.interconnect_intra = parts.optional("intra").string();
  out.interconnect_inter = parts.optional("inter").string();
  parts.finish();
}

void read_overlap(const JsonObject& in, PublishedRun& out) {
  const auto overlap = in.optional("overlap").object();
  if (!overlap) return;
  for (const std::string& key : overlap->keys()) {
    if (const std::optional<bool> is_on = overlap->nullable(key).boolean()) out.overlap[key] = *is_on;
  }
}

PublishedRun read_run(const JsonObject& in) {
  PublishedRun out;
  out.id = in.required("id").string();
  out.group = in.required("group").string();
  out.is_moe = in.required("kind").one_of({"dense", "moe"}) == "moe";
  out.model = in.required("model").string();
  if (const auto model = in.optional("model_inline").object()) out.model_inline = read_run_model(*model);
  out.model_label = in.optional("model_label").string();
  out.layers_override = in.optional("layers_override").integer(kCount);
  out.task = in.required("task").string();
  out.gpu = in.required("gpu").string();
  out.num_gpus = in.required("gpus").integer(kCount);
  out.gpus_per_node = in.optional("gpus_per_node").integer(kCount);
  read_interconnect(in, out);
  out.software = in.required("software").string();
  out.precision = in.required("precision").string();
  out.seq = in.required("seq").integer(kCount);
  out.global_batch = in.required("global_batch").integer(kCount);
  out.micro_batch = in.required("micro_batch").integer(kCount);
  out.tp = in.required("tp").integer(kCount);
  out.pp = in.required("pp").integer(kCount);
  out.dp = in.required("dp").integer(kCount);
  out.vpp = in.nullable("vpp").integer(kCount);
  out.cp = in.nullable("cp").integer(kCount);
  out.ep = in.nullable("ep").integer(kCount);
  out.etp = in.nullable("etp").integer(kCount);
  out.zero = in.nullable("zero").integer<int>({.min = 0, .max = 3});
  out.fsdp_shard = in.nullable("fsdp_shard").integer(kSize);
  out.recompute = texts(in.required("recompute"));
  out.recompute_known = in.required("recompute_known").boolean();
  out.dispatcher = in.nullable("dispatcher").string();
  out.schedule = in.nullable("schedule").string();
  out.pipeline_layout = layout_text_of(in.nullable("pipeline_layout"));
  out.tp_mode = in.nullable("tp_mode").string();
  read_overlap(in, out);
  out.cuda_graph = texts_or_one(in.nullable("cuda_graph"));
  out.measured = read_measured(in.required("measured").object());
  out.source = read_source(in.required("source").object());
  out.flags = texts(in.required("flags"));
  in.finish();
  return out;
}

/// What breaks a row or a model alone, by "/runs/3" or "/models/tiny": numbers that are not finite ("measured/step_s is
/// NaN, ...") and what was measured if it is no number or none that can be. Other problems of the document go to
/// `others`.
std::map<std::string, std::string> broken_parts(const ProblemList& problems, std::vector<Problem>& others) {
  constexpr std::string_view kFinite = "expected a finite number, got ", kNumber = "expected a number";
  std::map<std::string, std::string> out;
  for (const Problem& problem : problems.problems()) {
    const std::string& at = problem.pointer;
    const bool in_part = at.starts_with("/runs/") || at.starts_with("/models/");
    const std::size_t part = in_part ? at.find('/', at.find('/', 1) + 1) : at.npos;
    const std::string key = part == at.npos ? "" : at.substr(part + 1);
    const bool is_finite = !problem.message.starts_with(kFinite);
    const bool was_measured = key.starts_with("measured/") && problem.message.starts_with(kNumber);
    if (key.empty() || (is_finite && !was_measured)) {
      others.push_back(problem);
      continue;
    }
    std::string& keys = out[at.substr(0, part)];
    if (!keys.empty()) keys += ", ";
    keys += is_finite ? fmt::format("{}: {}", key, problem.message)
                      : fmt::format("{} is {}", key, problem.message.substr(kFinite.size()));
  }
  return out;
}

std::string text_or_nothing(const JsonObject& in, std::string_view key) {
  const OptionalJsonValue value = in.optional(key);
  return value.present() && value.value().kind() == JsonKind::string ? value.value().string() : "";
}

BrokenRun broken_run(const JsonObject& in, const std::string& place, std::string reason) {
  BrokenRun out{.id = text_or_nothing(in, "id"),
                .group = text_or_nothing(in, "group"),
                .gpu = text_or_nothing(in, "gpu"),
                .is_moe = text_or_nothing(in, "kind") == "moe",
                .measured = {},
                .reason = std::move(reason)};
  if (out.id.empty()) out.id = place.substr(1);
  if (const OptionalJsonValue measured = in.optional("measured");
      measured.present() && measured.value().kind() == JsonKind::object) {
    out.measured = measured.value().object().keys();
    out.out_of_memory = measured.value().object().has("outcome");
  }
  return out;
}

/// Why the parts of a document are broken, as far as it was read; throws: ConfigError with all that is not excused so.
std::map<std::string, std::string> excused(const JsonDocument& document) {
  std::vector<Problem> others;
  std::map<std::string, std::string> out = broken_parts(document.problems(), others);
  ProblemList strict;
  for (Problem& problem : others) strict.add(std::move(problem));
  strict.throw_if_any();
  return out;
}

RunsFile read(const JsonDocument& document) {
  const JsonObject in = document.root();
  std::vector<Problem> others;
  const std::map<std::string, std::string> not_a_number = broken_parts(document.problems(), others);
  const auto why_broken = [&](const std::string& place) {
    const auto found = not_a_number.find(place);
    return found == not_a_number.end() ? std::string() : found->second;
  };
  in.schema("runs/1");
  RunsFile out;
  out.about = in.required("about").string();
  const JsonObject table = in.required("models").object();
  std::map<std::string, std::string> models;  // place of each
  for (const std::string& name : table.keys()) {
    const JsonValue model = table.required(name);
    models[name] = model.pointer();
    out.models[name] = read_run_model(model.object());
  }
  std::set<std::string> ids;
  std::vector<std::pair<PublishedRun, JsonObject>> read_here;
  const JsonValue rows = in.required("runs");
  const std::vector<JsonValue> values = rows.array();
  if (rows.kind() == JsonKind::array && values.empty()) rows.problem("expected at least one run, got none");
  for (const JsonValue& value : values) {
    const JsonObject object = value.object();
    std::string reason = why_broken(value.pointer());
    if (const auto model = models.find(text_or_nothing(object, "model"));
        reason.empty() && model != models.end() && !object.has("model_inline")) {
      reason = why_broken(model->second);
      if (!reason.empty()) reason = fmt::format("model {}: {}", model->first, reason);
    }
    if (!reason.empty()) {
      out.broken.push_back(broken_run(object, value.pointer(), std::move(reason)));
      if (!ids.insert(out.broken.back().id).second) {
        object.problem(fmt::format("expected each id once, got \"{}\" again", out.broken.back().id));
      }
      continue;
    }
    PublishedRun run = read_run(object);
    if (!ids.insert(run.id).second) {
      object.required("id").problem(fmt::format("expected each id once, got \"{}\" again", run.id));
    }
    if (!run.model_inline && !out.models.contains(run.model)) {
      object.required("model").problem(fmt::format("expected a key of models, got \"{}\"", run.model));
    }
    read_here.emplace_back(std::move(run), object);
  }
  in.finish();
  const std::map<std::string, std::string> broken = excused(document);
  for (auto& [run, object] : read_here) {
    const std::string place = object.value().pointer();
    if (const auto found = broken.find(place); found != broken.end()) {
      out.broken.push_back(broken_run(object, place, found->second));
    } else {
      out.runs.push_back(std::move(run));
    }
  }
  return out;
}

}  // namespace

RunModel RunsFile::model_of(const PublishedRun& run) const {
  const auto found = models.find(run.model);
  CHECK(run.model_inline || found != models.end(), run.id);
  RunModel model = run.model_inline ? *run.model_inline : found->second;
  if (run.layers_override) model.layers = run.layers_override;
  return model;
}

RunsFile read_runs(const JsonDocument& document) { return read(document); }

RunsFile read_runs_text(const std::string& text, const std::string& file) {
  return read_runs(JsonDocument::parse_text(text, file));
}

RunsFile read_runs(const std::filesystem::path& path) {
  return read_runs_text(read_file(path.string()), path.string());
}

}  // namespace orrery::costmodel
