// SPDX-License-Identifier: Apache-2.0
#include "base/check.h"
#include "program/interval_json.h"
#include "program/json_parts.h"
#include "program/plan.h"

namespace orrery {
namespace {

JsonWriter& begin_source(JsonWriter& out, std::string_view key, const Source& source) {
  return out.key(key).begin_object().field("path", source.path).field("sha256", source.sha256);
}

void write_model(JsonWriter& out, const Source& source) {
  CHECK(!source.content.empty(), source.path);
  begin_source(out, "model", source);
  if (!source.ignored_keys.empty()) {
    out.key("ignored_keys").begin_array();
    for (const std::string& key : source.ignored_keys) out.value(key);
    out.end_array();
  }
  const JsonDocument content = JsonDocument::parse_text(source.content, source.path);
  out.field("content", content.root_value()).end_object();
}

void write_placement(JsonWriter& out, const Plan& plan) {
  out.key("placement").begin_object().field("order", plan.strategy.order).key("device_of_rank");
  if (plan.device_of_rank.empty()) {
    out.null();
  } else {
    out.begin_array();
    for (const DeviceIndex device : plan.device_of_rank) out.value(device.value());
    out.end_array();
  }
  if (!plan.experts.is_default()) {
    out.key("experts");
    write_layers(out, plan.experts, plan.strategy.ep);
  }
  out.end_object();
}

void write_predictions(JsonWriter& out, const std::vector<Prediction>& predictions) {
  out.key("predictions").begin_object();
  for (const Prediction& prediction : predictions) {
    out.key(prediction.tier).begin_object();
    out.field("step_time", prediction.step_time).field("peak_memory", prediction.peak_memory);
    out.field("extrapolated", prediction.extrapolated);
    write_interval_80(out, "step_time_80", prediction.step_time_80);
    write_interval_80(out, "peak_memory_80", prediction.peak_memory_80);
    out.end_object();
  }
  out.end_object();
}

void write_certificate(JsonWriter& out, const Certificate& certificate) {
  out.key("certificate").begin_object().key("domain").begin_array();
  for (const Certificate::Dimension& dimension : certificate.domain) {
    out.begin_object().field("name", dimension.name).field("domain", dimension.domain);
    out.field("claim", dimension.claim).end_object();
  }
  out.end_array().key("tiers").begin_array();
  for (const Certificate::Tier& tier : certificate.tiers) {
    out.begin_object().field("name", tier.name).field("evaluated", tier.evaluated);
    out.field("rejected", tier.rejected).end_object();
  }
  out.end_array();
  if (certificate.gap) out.field("gap", *certificate.gap);
  out.end_object();
}

}  // namespace

std::string to_json(const Plan& plan) {
  JsonWriter out;
  out.begin_object().field("schema", "plan/1");
  write_model(out, plan.model_source);
  write_cluster(begin_source(out, "cluster", plan.cluster_source).key("content"), plan.cluster);
  out.end_object();
  begin_source(out, "calibration", plan.calibration_source).end_object();
  out.key("workload").begin_object();
  out.field("sequence", plan.batch.seq).field("global_batch", plan.batch.global_batch).key("load");
  write_load(out, plan.load);
  out.key("sequences");
  write_sequences(out, plan.sequences);
  out.end_object().key("strategy");
  write_strategy(out, plan.strategy);
  if (!plan.framework.empty()) out.field("framework", plan.framework);
  write_placement(out, plan);
  if (plan.fidelity != Fidelities()) write_fidelities(out.key("fidelity"), plan.fidelity);
  if (!plan.predictions.empty()) write_predictions(out, plan.predictions);
  if (plan.certificate) write_certificate(out, *plan.certificate);
  out.key("provenance").begin_object().field("version", plan.provenance.version);
  out.field("seed", plan.provenance.seed).field("command", plan.provenance.command).end_object();
  out.end_object();
  return out.text();
}

}  // namespace orrery
