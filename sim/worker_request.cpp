// SPDX-License-Identifier: Apache-2.0
#include "sim/worker_request.h"

#include "base/errors.h"
#include "base/json_reader.h"
#include "base/json_writer.h"
#include "sim/next_text.h"
#include "traces/trace_io.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace orrery::sim {
namespace {

using SharedRecordedLoad = std::shared_ptr<const RecordedLoad>;

Trace trace_of_load(const RecordedLoad& load) {
  Trace trace;
  trace.header.num_ranks = 1;  // a trace of none is refused
  for (const auto& [place, routing] : load.matrices) {
    const auto& [layer, micro_batch, ep_group] = place;
    trace.loads.push_back({.layer = layer, .micro_batch = micro_batch, .ep_group = ep_group, .routing = routing});
  }
  return trace;
}

SharedRecordedLoad load_of_trace(Trace trace) {
  RecordedLoad load;
  for (LoadRecord& record : trace.loads) {
    load.matrices[{record.layer, record.micro_batch, record.ep_group}] = std::move(record.routing);
  }
  return std::make_shared<const RecordedLoad>(std::move(load));
}

}  // namespace

std::string built_by_hand(const Plan& plan) {
  return fmt::format(
      "simgrid: expected a program that was lowered from {}, got one that was built by hand: the worker process lowers "
      "the plan again and cannot know it",
      plan.model.name);
}

void write_request(std::ostream& out, const WorkerRequest& request) {
  const auto* recorded = std::get_if<SharedRecordedLoad>(&request.input.load);
  Plan plan = request.plan;
  plan.load = recorded != nullptr ? LoadModel(BalancedLoad{}) : request.input.load;
  plan.sequences = request.input.sequences;
  const std::string plan_text = to_json(plan), disturbances = to_json(request.input.disturbances);

  std::vector<std::string> others;
  for (const OtherPlan& other : request.others) others.push_back(to_json(other.plan));

  JsonWriter options(JsonWriter::Layout::line);
  options.begin_object();
  options.field("plan_bytes", plan_text.size()).field("disturbances_bytes", disturbances.size());
  options.field("recorded_load", recorded != nullptr);
  options.field("calibration", request.calibration.string());
  options.field("num_steps", request.input.num_steps).field("all_ranks", request.input.all_ranks);
  options.field("all_replicas", request.input.all_replicas).field("steps_only", request.input.steps_only);
  options.field("complete", request.input.complete).field("use_of_links", request.use_of_links);
  if (request.seed) options.field("path_seed", *request.seed);
  options.key("others").begin_array();
  for (std::size_t i = 0; i < others.size(); ++i) {
    options.begin_object().field("name", request.others[i].name).field("plan_bytes", others[i].size());
    options.field("calibration", request.others[i].calibration.string()).end_object();
  }
  options.end_array();
  options.end_object();
  out << options.text() << '\n' << plan_text << disturbances;
  for (const std::string& other : others) out << other;
  if (recorded != nullptr) write_trace(out, trace_of_load(**recorded));
}

WorkerRequest read_request(std::istream& in) {
  std::string line;
  std::getline(in, line);
  const JsonDocument document = JsonDocument::parse_text(line, "request");
  const JsonObject options = document.root();
  WorkerRequest request;
  const auto plan_bytes = options.required("plan_bytes").integer<std::size_t>({.min = 1});
  const auto disturbances_bytes = options.required("disturbances_bytes").integer<std::size_t>({.min = 1});
  const bool recorded = options.required("recorded_load").boolean();
  request.calibration = options.required("calibration").string();
  request.input.num_steps = options.required("num_steps").integer({.min = 0});
  request.input.all_ranks = options.required("all_ranks").boolean();
  request.input.all_replicas = options.required("all_replicas").boolean();
  request.input.steps_only = options.required("steps_only").boolean();
  request.input.complete = options.required("complete").boolean();
  request.use_of_links = options.required("use_of_links").boolean();
  request.seed = options.optional("path_seed").integer<std::uint64_t>();
  std::vector<std::size_t> bytes_of_others;
  for (const JsonValue& value : options.required("others").array()) {
    const JsonObject other = value.object();
    request.others.push_back(
        {.name = other.required("name").string(), .plan = {}, .calibration = other.required("calibration").string()});
    bytes_of_others.push_back(other.required("plan_bytes").integer<std::size_t>({.min = 1}));
    other.finish();
  }
  options.finish();
  document.throw_if_problems();

  request.plan = read_plan_text(next_text(in, plan_bytes), "plan");
  request.input.disturbances = read_disturbances_text(next_text(in, disturbances_bytes), "disturbances");
  for (std::size_t i = 0; i < request.others.size(); ++i) {
    request.others[i].plan = read_plan_text(next_text(in, bytes_of_others[i]), "other plan");
  }
  request.input.load = recorded ? LoadModel(load_of_trace(read_trace(in, "load"))) : request.plan.load;
  request.input.sequences = request.plan.sequences;
  return request;
}

}  // namespace orrery::sim
