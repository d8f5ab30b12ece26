// SPDX-License-Identifier: Apache-2.0
// plan/1 (docs/formats/plan.md).
#include "base/files.h"
#include "program/interval_json.h"
#include "program/json_parts.h"
#include "program/plan.h"

#include <algorithm>
#include <array>
#include <set>

#include <fmt/format.h>

namespace orrery {
namespace {

std::string stem_of(const std::string& path) { return std::filesystem::path(path).stem().string(); }

Source read_source(const JsonObject& in) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  Source source;
  source.path = in.required("path").string();
  const JsonValue hash = in.required("sha256");
  source.sha256 = hash.string();
  if (hash.kind() == JsonKind::string &&
      (source.sha256.size() != 64 || source.sha256.find_first_not_of(kDigits) != std::string::npos)) {
    hash.problem(fmt::format("expected 64 hexadecimal digits, got \"{}\"", source.sha256));
  }
  return source;
}

std::string text_of(const JsonValue& value) { return JsonWriter().value(value).text(); }

void read_model(const JsonObject& in, Plan& plan) {
  plan.model_source = read_source(in);
  if (const auto ignored = in.optional("ignored_keys").array()) {
    for (const JsonValue& key : *ignored) plan.model_source.ignored_keys.insert(key.string());
  }
  const JsonObject content = in.required("content").object();
  if (in.has("content")) plan.model_source.content = text_of(content.value());
  plan.model = read_model(content, stem_of(plan.model_source.path), plan.model_source.ignored_keys);
  in.finish();
}

void read_cluster(const JsonObject& in, Plan& plan) {
  plan.cluster_source = read_source(in);
  ProblemList no_other_files;
  const JsonObject content = in.required("content").object();
  plan.cluster = read_cluster(content, stem_of(plan.cluster_source.path), "", no_other_files);
  if (plan.cluster.groups.size() > 1) {
    content.required("groups").problem(
        fmt::format("expected one group of nodes, got {}: steps over several groups are not lowered yet",
                    plan.cluster.groups.size()));
  }
  plan.cluster_source.content = to_json(plan.cluster);
  in.finish();
}

void read_workload(const JsonObject& in, Plan& plan) {
  plan.batch.seq = in.required("sequence").integer({.min = 1, .max = 1 << 30});
  plan.batch.global_batch = in.required("global_batch").integer({.min = 1, .max = 1 << 30});
  const JsonValue load = in.required("load");
  plan.load = read_load(load);
  if (const std::string missing = missing_popularity(plan.load, plan.model); !missing.empty()) load.problem(missing);
  if (const auto sequences = in.optional("sequences"); sequences.present()) {
    plan.sequences = read_sequences(sequences.value());
    if (const std::int64_t place = first_too_long(plan.sequences, plan.batch.seq); place >= 0) {
      sequences.value()
          .object()
          .required("sequences")
          .array()[static_cast<std::size_t>(place)]
          .problem(fmt::format("expected documents of at most {} tokens together, the sequence of the workload",
                               plan.batch.seq));
    }
  }
  in.finish();
}

void read_experts(const JsonValue& in, Plan& plan) {
  if (!plan.model.moe) return in.problem(fmt::format("expected none: {} has no experts", plan.model.name));
  plan.experts = read_layers(in, {.num_experts = plan.model.moe->num_experts, .ep = plan.strategy.ep});
  for (const auto& [layer, experts] : plan.experts.layers) {
    if (layer < plan.model.num_layers() + plan.model.num_mtp_modules && plan.model.kind(layer) == LayerKind::moe)
      continue;
    in.problem(fmt::format("expected layers with experts, got layer {}", layer));
  }
}

void read_placement(const JsonObject& in, Plan& plan) {
  const JsonValue order = in.required("order");
  if (!order.is_text(plan.strategy.order)) {
    order.problem(fmt::format("expected \"{}\", the order of the strategy", plan.strategy.order));
  }
  const JsonValue devices = in.required("device_of_rank");
  std::set<DeviceIndex> taken;
  if (!devices.is_null()) {
    for (const JsonValue& value : devices.array()) {
      const std::int64_t last = std::max<std::int64_t>(plan.cluster.num_devices(), 1) - 1;
      const DeviceIndex device(value.integer<std::int32_t>({.min = 0, .max = last}));
      if (!taken.insert(device).second) {
        value.problem(fmt::format("expected a device of its own for each rank, got {} again", device.value()));
      }
      plan.device_of_rank.push_back(device);
    }
    if (devices.kind() == JsonKind::array && plan.device_of_rank.empty()) {
      devices.problem("expected null or at least one device, got none");
    }
  }
  if (const auto experts = in.optional("experts"); experts.present()) read_experts(experts.value(), plan);
  in.finish();
}

std::vector<Prediction> read_predictions(const JsonObject& in) {
  std::vector<Prediction> predictions;
  for (const std::string& tier : in.keys()) {
    constexpr std::array<std::string_view, 3> kTiers = {"closed", "analytic", "simgrid"};
    if (std::find(kTiers.begin(), kTiers.end(), tier) == kTiers.end()) continue;  // finish() reports it
    const JsonObject object = in.required(tier).object();
    Prediction& prediction = predictions.emplace_back();
    prediction.tier = tier;
    prediction.step_time = object.required("step_time").quantity<Seconds>();
    prediction.peak_memory = object.required("peak_memory").quantity<Bytes>();
    prediction.extrapolated = object.required("extrapolated").boolean();
    prediction.step_time_80 = read_interval_80<Seconds>(object, "step_time_80");
    prediction.peak_memory_80 = read_interval_80<Bytes>(object, "peak_memory_80");
    object.finish();
  }
  in.ignore({"closed", "analytic", "simgrid"});
  in.finish();
  return predictions;
}

std::optional<Certificate> read_certificate(const JsonObject& in) {
  if (in.keys().empty()) return std::nullopt;
  Certificate certificate;
  for (const JsonValue& value : in.required("domain").array()) {
    const JsonObject object = value.object();
    certificate.domain.push_back({.name = object.required("name").string(),
                                  .domain = object.required("domain").string(),
                                  .claim = object.required("claim").string()});
    object.finish();
  }
  for (const JsonValue& value : in.required("tiers").array()) {
    const JsonObject object = value.object();
    certificate.tiers.push_back({.name = object.required("name").string(),
                                 .evaluated = object.required("evaluated").integer({.min = 0}),
                                 .rejected = object.required("rejected").integer({.min = 0})});
    object.finish();
  }
  certificate.gap = in.optional("gap").number({.min = 0.0});
  in.finish();
  return certificate;
}

Provenance read_provenance(const JsonObject& in) {
  Provenance provenance{.version = in.required("version").string(),
                        .seed = in.required("seed").integer<std::uint64_t>(),
                        .command = in.required("command").string()};
  in.finish();
  return provenance;
}

// Rules about the batch are broken by the workload, all others by the strategy.
void report_violations(const Plan& plan, const JsonObject& workload, const JsonObject& strategy) {
  std::vector<Violation> of_strategy = violations(plan.model, plan.strategy, plan.batch, plan.num_ranks());
  const auto of_workload = std::stable_partition(of_strategy.begin(), of_strategy.end(), [](const Violation& v) {
    return v.key != "global_batch" && v.key != "sequence";
  });
  report({of_workload, of_strategy.end()}, workload);
  of_strategy.erase(of_workload, of_strategy.end());
  report(of_strategy, strategy);
  check_stated_dp(strategy, plan.strategy, plan.num_ranks());
}

}  // namespace

Plan read_plan(const std::filesystem::path& path) { return read_plan_text(read_file(path.string()), path.string()); }

Plan read_plan_text(const std::string& text, const std::string& file) {
  const JsonDocument document = JsonDocument::parse_text(text, file);
  const JsonObject in = document.root();
  Plan plan;
  in.schema("plan/1");
  if (in.has("schema")) document.throw_if_problems();  // of another kind of file, every key would be a problem
  read_model(in.required("model").object(), plan);
  read_cluster(in.required("cluster").object(), plan);
  const JsonObject calibration = in.required("calibration").object();
  plan.calibration_source = read_source(calibration);
  calibration.finish();
  const JsonObject workload = in.required("workload").object();
  read_workload(workload, plan);
  const JsonObject strategy = in.required("strategy").object();
  plan.strategy = read_strategy(strategy, plan.model);
  plan.framework = in.optional("framework").string().value_or("");
  read_placement(in.required("placement").object(), plan);
  if (const auto fidelity = in.optional("fidelity").object()) plan.fidelity = read_fidelities(*fidelity);
  if (const auto predictions = in.optional("predictions").object()) plan.predictions = read_predictions(*predictions);
  if (const auto certificate = in.optional("certificate").object()) plan.certificate = read_certificate(*certificate);
  plan.provenance = read_provenance(in.required("provenance").object());
  in.finish();
  // The rules are about values that were read as they are meant.
  if (document.problems().empty()) report_violations(plan, workload, strategy);
  document.throw_if_problems();
  return plan;
}

}  // namespace orrery
