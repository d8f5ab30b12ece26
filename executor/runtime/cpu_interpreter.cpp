// SPDX-License-Identifier: Apache-2.0
#include "executor/runtime/cpu_interpreter.h"

#include "base/check.h"
#include "executor/launch/launcher.h"
#include "executor/launch/memory_file.h"
#include "executor/runtime/execution.h"
#include "executor/runtime/rank_runtime.h"
#include "traces/trace_io.h"

#include <algorithm>
#include <map>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace orrery::executor {

CpuInterpreter::CpuInterpreter(Plan plan, std::filesystem::path rank_executable, TrainingSettings settings, Job* job,
                               RunLog* log)
    : plan_(std::move(plan)),
      rank_executable_(std::move(rank_executable)),
      settings_(std::move(settings)),
      job_(job),
      log_(log) {}

bool CpuInterpreter::enabled() const {
  std::error_code error;
  return std::filesystem::exists(rank_executable_, error);
}

std::vector<Unsupported> CpuInterpreter::unsupported(const StepProgram& program) const {
  std::vector<Unsupported> reasons;
  for (std::string& reason : cpu_unsupported(program)) reasons.push_back({std::move(reason)});
  return reasons;
}

KeptSteps CpuInterpreter::kept_steps(const RunInput& input, std::int64_t num_steps) const {
  KeptSteps kept = input.complete ? KeptSteps::all(num_steps) : KeptSteps::for_report(num_steps);
  if (input.steps_only) kept.num_with_ops = 0;
  if (log_ != nullptr) kept.record_every = 1;
  return kept;
}

Trace CpuInterpreter::run(const StepProgram& program, const RunInput& input) const {
  CHECK(unsupported(program).empty() && enabled());
  const MemoryFile plan(orrery::to_json(plan_));
  ExecutionRequest request{
      .plan_path = plan.path(), .program_hash = hash_of(program), .settings = settings_, .kept = {}};
  request.settings.num_steps = std::max(settings_.num_steps, input.num_steps);
  request.kept = kept_steps(input, request.settings.num_steps);
  TrainingSettings& s = request.settings;
  for (std::string* path : {&s.corpus, &s.checkpoint, &s.resume_from, &s.init_from, &s.metrics_file, &s.metrics_lines,
                            &s.record_routing, &s.replay_routing}) {
    if (!path->empty()) *path = std::filesystem::absolute(*path).string();
  }
  const MemoryFile request_file(to_json(request));

  if (log_ != nullptr) log_->start(static_cast<int>(program.mesh.world()));
  const LaunchResult launched =
      launch({.executable = rank_executable_.string(),
              .arguments = {"execute", request_file.path()},
              .segment = {.num_ranks = static_cast<int>(program.mesh.world()),
                          .time_out = settings_.time_out,
                          .clock_offset = job_ == nullptr ? std::chrono::nanoseconds{} : job_->clock_offset()},
              .job = job_,
              .watch = true,
              .on_result = [this](int rank, std::string_view bytes) {
                if (log_ != nullptr) log_->take(rank, bytes);
              }});
  if (job_ != nullptr && !job_->is_first()) return {};
  std::vector<Trace> traces;
  for (std::size_t rank = 0; rank < launched.results.size(); ++rank) {
    traces.push_back(read_trace_text(launched.results[rank], fmt::format("trace of rank {}", rank)));
  }
  Trace trace = merge_rank_traces(std::move(traces), program.mesh);
  trace.header.version = plan_.provenance.version;
  if (program.strategy.overlap != Overlap()) {
    trace.header.notes.push_back("overlap: each rank runs the program's ops one after the other, in its order");
  }
  if (job_ != nullptr) {
    trace.header.clock_error = seconds(std::chrono::duration<double>(job_->largest_clock_error()).count());
    trace.header.notes.push_back(fmt::format("{}, over {}; what one host counts is of the first", text_of_shares(*job_),
                                             name_of(job_->options().carrier)));
  }
  if (trace.power.empty()) trace.header.notes.push_back("energy: no counter");
  if (request.kept.record_every > 1) {
    trace.header.notes.push_back(fmt::format("times and losses: of {} steps, each whose number {} divides",
                                             request.settings.num_steps, request.kept.record_every));
  }
  return trace;
}

namespace {

/// Puts the rows that the ranks recorded together to the matrices of their EP groups.
class LoadMerger {
 public:
  explicit LoadMerger(std::int64_t group) : group_(group) {}

  void add(const LoadRecord& row, std::int64_t member) {
    LoadRecord& record = records_[{row.step, row.layer, row.micro_batch, row.ep_group}];
    if (record.routing.pairs.empty()) {
      record = row;
      record.routing.group = group_;
      record.routing.pairs.assign(static_cast<std::size_t>(group_ * row.routing.num_experts), 0.0);
      record.routing.tokens.assign(static_cast<std::size_t>(group_) * row.routing.tokens.size(), 0.0);
    }
    std::copy(row.routing.tokens.begin(), row.routing.tokens.end(),
              record.routing.tokens.begin() + static_cast<std::ptrdiff_t>(member * std::ssize(row.routing.tokens)));
    std::copy(row.routing.pairs.begin(), row.routing.pairs.end(),
              record.routing.pairs.begin() + static_cast<std::ptrdiff_t>(member * row.routing.num_experts));
  }
  std::vector<LoadRecord> take() && {
    std::vector<LoadRecord> loads;
    loads.reserve(records_.size());
    for (auto& [place, record] : records_) loads.push_back(std::move(record));
    return loads;
  }

 private:
  using Place = std::tuple<std::int32_t, std::int64_t, std::int64_t, std::int64_t>;
  std::int64_t group_;
  std::map<Place, LoadRecord> records_;  // by step, layer, micro-batch and EP group
};

}  // namespace

Trace merge_rank_traces(std::vector<Trace> traces, const Mesh& mesh) {
  CHECK(!traces.empty());
  Trace all;
  all.header = traces.front().header;
  all.header.represents.clear();
  std::vector<std::vector<StepRecord>> steps;
  LoadMerger loads(mesh.ep());
  for (std::size_t rank = 0; rank < traces.size(); ++rank) {
    const Trace& trace = traces[rank];
    CHECK(trace.steps.size() == traces.front().steps.size(), rank, trace.steps.size(), traces.front().steps.size());
    steps.push_back(trace.steps);
    all.header.represents[static_cast<std::int32_t>(rank)] = 1;
    for (std::size_t i = 0; i < trace.spans.size(); ++i) all.spans.push_back(trace.spans.at(i));
    all.power.insert(all.power.end(), trace.power.begin(), trace.power.end());
    const std::int64_t member = mesh.index_in_group(Group::ep, RankId(static_cast<std::int32_t>(rank)));
    all.memory.insert(all.memory.end(), trace.memory.begin(), trace.memory.end());
    for (const LoadRecord& row : trace.loads) loads.add(row, member);
  }
  all.steps = merge_steps(steps);
  all.loads = std::move(loads).take();
  return all;
}

std::filesystem::path rank_executable_beside_this() {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path() / "orrery-rank";
}

}  // namespace orrery::executor
