// SPDX-License-Identifier: Apache-2.0
#include "executor/runtime/execution.h"

#include "base/check.h"
#include "base/errors.h"
#include "base/json_reader.h"
#include "base/json_writer.h"
#include "base/sha256.h"
#include "executor/checkpoint/hf_weights.h"
#include "executor/meter/energy_meter.h"
#include "executor/meter/resident_meter.h"
#include "executor/runtime/checkpointing.h"
#include "executor/runtime/corpus.h"
#include "executor/runtime/rank_runtime.h"
#include "executor/runtime/routing_replay.h"
#include "executor/runtime/saved_state.h"
#include "executor/runtime/step_metrics.h"
#include "program/lower.h"
#include "program/names.h"
#include "traces/trace_io.h"

#include <chrono>
#include <cstdio>
#include <deque>
#include <optional>
#include <sstream>
#include <utility>

#include <fmt/format.h>

namespace orrery::executor {
namespace {

// Of what is read on each host the content counts, since it may stand elsewhere there.

std::string corpus_of(const TrainingSettings& settings) {
  return settings.corpus.empty() ? "synthetic" : sha256_hex(read_corpus(settings.corpus));
}

std::string replayed_of(const TrainingSettings& settings, std::int64_t first_step) {
  if (settings.replay_routing.empty()) return "none";
  return hash_of_routing(settings.replay_routing, first_step, settings.num_steps);
}

TrainingIdentity identity_of(const Plan& plan, const TrainingSettings& settings) {
  return {.model = plan.model.name,
          .model_sha256 = plan.model_source.sha256,
          .optimizer = std::string(name_of(kOptimizerNames, plan.strategy.optimizer)),
          .seq = plan.batch.seq,
          .global_batch = plan.batch.global_batch,
          .seed = static_cast<std::int64_t>(settings.seed),
          .corpus = corpus_of(settings),
          .balanced_routing = settings.balanced_routing};
}

double milliseconds(std::chrono::duration<double> time) { return time.count() * 1e3; }

}  // namespace

std::optional<StartPoint> checkpoint_to_start_from(const Plan& plan, const StepProgram& program,
                                                   const TrainingSettings& settings, bool resume) {
  const std::filesystem::path folder = settings.checkpoint;
  if (folder.empty() || (!resume && !std::filesystem::exists(folder))) return std::nullopt;
  const std::optional<std::filesystem::path> last = last_checkpoint(folder);
  if (!resume) {
    if (!last) return std::nullopt;
    throw ConfigError({Problem{
        .file = folder.string(),
        .message = fmt::format("expected a folder without checkpoints, got one with {}", last->filename().string()),
        .hint = "--resume goes on from it"}});
  }
  std::optional<StartPoint> start;
  if (last) {
    const CheckpointReader reader(*last);
    check_same_training(last->string(), reader.manifest().training, identity_of(plan, settings));
    check_tensors(last->string(), reader.manifest().tensors, tensors_of(program));
    start = {*last, reader.manifest().step};
  }
  return start;
}

JobFacts job_facts_of(const StepProgram& program, const TrainingSettings& settings, std::int64_t first_step) {
  const bool has_first_weights = settings.resume_from.empty() && !settings.init_from.empty();
  const auto on_or_off = [](bool on) { return on ? "on" : "off"; };
  const std::string every = settings.checkpoint.empty() ? "none" : std::to_string(settings.checkpoint_every);
  return {{"program", hash_of(program)},
          {"ranks", std::to_string(program.mesh.world())},
          {"steps", std::to_string(settings.num_steps)},
          {"first step", std::to_string(first_step)},
          {"seed", std::to_string(settings.seed)},
          {"corpus", corpus_of(settings)},
          {"weights to start from", has_first_weights ? HfFolder(settings.init_from).fingerprint() : "random"},
          {"balanced routing", on_or_off(settings.balanced_routing)},
          {"routing to record", on_or_off(!settings.record_routing.empty())},
          {"routing to replay", replayed_of(settings, first_step)},
          {"metrics", on_or_off(!settings.metrics_file.empty() || !settings.metrics_lines.empty())},
          {"steps between checkpoints", every}};
}

std::vector<std::string> check_init_from(const Plan& plan, const StepProgram& program,
                                         const TrainingSettings& settings) {
  const HfWeights weights(plan.model, settings.init_from, plan.model_source.ignored_keys);
  weights.check(whole_parameters(program));
  return weights.tensors().departures();
}

std::string to_json(const ExecutionRequest& request) {
  const TrainingSettings& s = request.settings;
  JsonWriter out;
  out.begin_object().field("schema", "execution/1");
  out.field("plan", request.plan_path).field("program_hash", request.program_hash);
  out.field("record_every", request.kept.record_every).field("num_with_ops", request.kept.num_with_ops);
  out.field("num_steps", s.num_steps);
  out.field("seed", static_cast<std::int64_t>(s.seed)).field("corpus", s.corpus).field("gemm", s.gemm);
  out.field("learning_rate", static_cast<double>(s.adamw.learning_rate));
  out.field("weight_decay", static_cast<double>(s.adamw.weight_decay));
  out.field("clip_norm", s.clip_norm).field("router_temperature", static_cast<double>(s.router_temperature));
  out.field("balanced_routing", s.balanced_routing).field("bias_update_rate", static_cast<double>(s.bias_update_rate));
  out.field("checkpoint", s.checkpoint).field("checkpoint_every", s.checkpoint_every);
  out.field("resume_from", s.resume_from).field("init_from", s.init_from).field("metrics_file", s.metrics_file);
  out.field("metrics_lines", s.metrics_lines);
  out.field("record_routing", s.record_routing).field("replay_routing", s.replay_routing);
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
  request.kept.record_every = in.required("record_every").integer({.min = 1});
  request.kept.num_with_ops = in.required("num_with_ops").integer({.min = 0});
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
  s.checkpoint = in.required("checkpoint").string();
  s.checkpoint_every = in.required("checkpoint_every").integer({.min = 0});
  s.resume_from = in.required("resume_from").string();
  s.init_from = in.required("init_from").string();
  s.metrics_file = in.required("metrics_file").string();
  s.metrics_lines = in.required("metrics_lines").string();
  s.record_routing = in.required("record_routing").string();
  s.replay_routing = in.required("replay_routing").string();
  s.init_deviation = static_cast<float>(in.required("init_deviation").number());
  in.finish();
  document.throw_if_problems();
  return request;
}

void execute_rank(RankProcess& process, const ExecutionRequest& request) {
  const Plan plan = read_plan(request.plan_path);
  const StepProgram program = lower(plan);
  CHECK(hash_of(program) == request.program_hash, request.plan_path);
  set_num_threads(process.threads());

  const ResidentMeter resident;
  RankRuntime runtime(program, RankId(process.rank()), process.endpoint(), request.settings);
  RankState& state = runtime.state();
  if (!request.settings.resume_from.empty()) {
    const CheckpointReader reader(request.settings.resume_from);
    load_state(program, RankId(process.rank()), reader, state.weights);
    state.step = reader.manifest().step;
  } else if (!request.settings.init_from.empty()) {
    const HfWeights weights(plan.model, request.settings.init_from, plan.model_source.ignored_keys);
    load_weights(
        program, RankId(process.rank()),
        [&](const Parameter& weight, const Box& box, std::span<float> out) { weights.read(weight, box, out); },
        state.weights);
  }
  std::optional<Checkpointing> checkpointing;
  if (!request.settings.checkpoint.empty()) {
    const TrainingSettings& settings = request.settings;
    checkpointing.emplace(runtime, settings.checkpoint, settings.checkpoint_every, identity_of(plan, settings));
    checkpointing->on_saved([](const SavedCheckpoint& saved) {
      fmt::print(stderr, "saved {}: copied in {:.1f} ms, written in {:.1f} ms\n", saved.path.string(),
                 milliseconds(saved.copy_time), milliseconds(saved.write_time));
    });
  }
  // The launcher learns of each step as it ends. Spans wait for the end: sending them would disturb the next step.
  std::ostringstream text;
  const auto send = [&](TraceWriter& out) {
    out.flush();
    process.send_result(text.view());
    text.str("");
  };
  TraceWriter out(text, {.interpreter = "cpu",
                         .program_hash = request.program_hash,
                         .plan = request.plan_path,
                         .num_ranks = process.size(),
                         .represents = {{process.rank(), 1}},
                         .threads_per_rank = process.threads()});
  send(out);
  std::deque<RankRuntime::Step> with_ops;
  const std::int64_t first_step = state.step, num_steps = request.settings.num_steps;
  // One rank reads the machine's counters for all.
  std::optional<EnergyMeter> meter;
  if (process.rank() == 0) meter.emplace();
  std::optional<StepMetrics> metrics;
  if (!request.settings.metrics_file.empty() || !request.settings.metrics_lines.empty()) {
    metrics.emplace(runtime, request.settings.metrics_file, request.settings.metrics_lines);
  }
  Joules before;
  Seconds elapsed;
  while (state.step < num_steps) {
    const std::int64_t step = state.step;
    const bool kept = request.kept.has_record(step, first_step, num_steps);
    if (!request.settings.replay_routing.empty()) replay_routing(state, request.settings.replay_routing);
    if (!request.settings.record_routing.empty()) record_routing(state);
    RankRuntime::Step done = runtime.run_step();
    if (state.recorded) save_routing(state, request.settings.record_routing);
    if (checkpointing) checkpointing->after_step();
    if (kept) out.write(done.record);
    elapsed += done.record.time;
    std::optional<Joules> used;
    if (const auto energy = meter ? meter->read() : std::nullopt) {
      used = *energy - before;
      if (kept) out.write(PowerSample{.rank = 0, .time = elapsed, .power = *used / done.record.time});
      before = *energy;
    }
    send(out);
    if (metrics) metrics->after_step(done, used);
    if (request.kept.has_ops(step, num_steps)) with_ops.push_back(std::move(done));
  }
  if (checkpointing) checkpointing->finish();
  for (const RankRuntime::Step& step : with_ops) {
    for (const Span& span : step.spans) out.write(span);
  }
  for (const RankRuntime::Step& step : with_ops) {
    for (const LoadRecord& load : step.loads) out.write(load);
  }
  MemoryRecord memory = runtime.memory();
  memory.resident = resident.most();
  out.write(memory);
  out.finish();
  process.send_result(text.view());
}

}  // namespace orrery::executor
