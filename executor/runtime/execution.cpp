// SPDX-License-Identifier: Apache-2.0
#include "executor/runtime/execution.h"

#include "base/check.h"
#include "base/json_reader.h"
#include "base/json_writer.h"
#include "executor/meter/energy_meter.h"
#include "executor/runtime/rank_runtime.h"
#include "program/lower.h"
#include "program/plan.h"
#include "traces/trace_io.h"

#include <optional>
#include <sstream>

namespace orrery::executor {

std::string to_json(const ExecutionRequest& request) {
  const TrainingSettings& s = request.settings;
  JsonWriter out;
  out.begin_object().field("schema", "execution/1");
  out.field("plan", request.plan_path).field("program_hash", request.program_hash);
  out.field("steps_only", request.steps_only).field("num_steps", s.num_steps);
  out.field("seed", static_cast<std::int64_t>(s.seed)).field("corpus", s.corpus).field("gemm", s.gemm);
  out.field("learning_rate", static_cast<double>(s.adamw.learning_rate));
  out.field("weight_decay", static_cast<double>(s.adamw.weight_decay));
  out.field("clip_norm", s.clip_norm).field("router_temperature", static_cast<double>(s.router_temperature));
  out.field("balanced_routing", s.balanced_routing).field("bias_update_rate", static_cast<double>(s.bias_update_rate));
  out.field("init_deviation", static_cast<double>(s.init_deviation));
  out.end_object();
  return out.text();
}

ExecutionRequest read_execution_request(const std::string& path) {
  const JsonDocument document = JsonDocument::parse_file(path);
  const JsonObject in = document.root();
  in.schema("execution/1");
  ExecutionRequest request;
  TrainingSettings& s = request.settings;
  request.plan_path = in.required("plan").string();
  request.program_hash = in.required("program_hash").string();
  request.steps_only = in.required("steps_only").boolean();
  s.num_steps = in.required("num_steps").integer({.min = 1});
  s.seed = static_cast<std::uint64_t>(in.required("seed").integer({.min = 0}));
  s.corpus = in.required("corpus").string();
  s.gemm = in.required("gemm").string();
  s.adamw.learning_rate = static_cast<float>(in.required("learning_rate").number());
  s.adamw.weight_decay = static_cast<float>(in.required("weight_decay").number());
  s.clip_norm = in.required("clip_norm").number();
  s.router_temperature = static_cast<float>(in.required("router_temperature").number());
  s.balanced_routing = in.required("balanced_routing").boolean();
  s.bias_update_rate = static_cast<float>(in.required("bias_update_rate").number());
  s.init_deviation = static_cast<float>(in.required("init_deviation").number());
  in.finish();
  document.throw_if_problems();
  return request;
}

void execute_rank(RankProcess& process, const ExecutionRequest& request) {
  const Plan plan = read_plan(request.plan_path);
  const StepProgram program = lower(plan.model, plan.strategy, plan.batch, process.size());
  CHECK(hash_of(program) == request.program_hash, request.plan_path);
  set_num_threads(process.threads());

  RankRuntime runtime(program, RankId(process.rank()), process.endpoint(), request.settings);
  std::ostringstream text;
  TraceWriter out(text, {.interpreter = "cpu",
                         .program_hash = request.program_hash,
                         .plan = request.plan_path,
                         .num_ranks = process.size(),
                         .represents = {{process.rank(), 1}},
                         .threads_per_rank = process.threads()});
  // One rank reads the machine's counters for all.
  std::optional<EnergyMeter> meter;
  if (process.rank() == 0) meter.emplace();
  Joules before;
  Seconds elapsed;
  for (std::int64_t step = 0; step < request.settings.num_steps; ++step) {
    const RankRuntime::Step done = runtime.run_step();
    out.write(done.record);
    elapsed += done.record.time;
    if (const auto energy = meter ? meter->read() : std::nullopt) {
      out.write(PowerSample{.rank = 0, .time = elapsed, .power = (*energy - before) / done.record.time});
      before = *energy;
    }
    if (request.steps_only) continue;
    for (const Span& span : done.spans) out.write(span);
    for (const LoadRecord& load : done.loads) out.write(load);
  }
  out.finish();
  process.send_result(text.str());
}

}  // namespace orrery::executor
