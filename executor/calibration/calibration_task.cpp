// SPDX-License-Identifier: Apache-2.0
#include "executor/calibration/calibration_task.h"

#include "base/files.h"
#include "executor/calibration/collective_run.h"
#include "executor/calibration/probe_run.h"
#include "executor/calibration/rank_samples.h"
#include "executor/kernels/gemm.h"
#include "program/json_parts.h"

namespace orrery::executor {
namespace {

void write_probe(JsonWriter& out, const Probe& probe) {
  out.begin_object().field("path", probe.source.path).key("ignored_keys").begin_array();
  for (const std::string& ignored : probe.source.ignored_keys) out.value(ignored);
  out.end_array();
  const JsonDocument model = JsonDocument::parse_text(probe.source.content, probe.source.path);
  out.field("model", model.root_value()).key("strategy");
  write_strategy(out, probe.strategy);
  out.field("sequence", probe.batch.seq).field("global_batch", probe.batch.global_batch).end_object();
}

Probe read_probe(const JsonObject& in) {
  Probe probe;
  probe.source.path = in.required("path").string();
  for (const JsonValue& key : in.required("ignored_keys").array()) probe.source.ignored_keys.insert(key.string());
  const JsonObject content = in.required("model").object();
  probe.source.content = JsonWriter().value(content.value()).text();
  probe.model = read_model(content, probe.source.path, probe.source.ignored_keys);
  probe.strategy = read_strategy(in.required("strategy").object(), probe.model);
  probe.batch.seq = in.required("sequence").integer({.min = 1});
  probe.batch.global_batch = in.required("global_batch").integer({.min = 1});
  in.finish();
  return probe;
}

}  // namespace

std::string to_json(const CalibrationTask& task) {
  JsonWriter out;
  out.begin_object().field("schema", "calibration_task/1").field("num_ranks", task.num_ranks).key("probe");
  if (task.probe) {
    write_probe(out, *task.probe);
  } else {
    out.null();
  }
  out.field("max_time", task.max_time).field("gemm", task.gemm).end_object();
  return out.text();
}

CalibrationTask read_calibration_task(const std::string& path) {
  return read_calibration_task_text(read_file(path), path);
}

CalibrationTask read_calibration_task_text(const std::string& text, const std::string& file) {
  const JsonDocument document = JsonDocument::parse_text(text, file);
  const JsonObject in = document.root();
  in.schema("calibration_task/1");
  CalibrationTask task;
  task.num_ranks = in.required("num_ranks").integer({.min = 1});
  const JsonValue probe = in.required("probe");
  if (!probe.is_null()) task.probe = read_probe(probe.object());
  task.max_time = in.required("max_time").quantity<Seconds>(Sign::not_negative);
  task.gemm = in.required("gemm").string();
  in.finish();
  document.throw_if_problems();
  return task;
}

void calibrate_rank(RankProcess& process, const CalibrationTask& task) {
  set_num_threads(process.threads());
  const RankSamples samples = task.probe ? run_probe(process.endpoint(), *task.probe, task.max_time, task.gemm)
                                         : time_collectives(process.endpoint(), task.max_time);
  process.send_result(to_json(samples));
}

}  // namespace orrery::executor
