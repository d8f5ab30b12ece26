// SPDX-License-Identifier: Apache-2.0
#include "executor/runtime/cpu_interpreter.h"

#include "base/check.h"
#include "base/files.h"
#include "executor/launch/launcher.h"
#include "executor/runtime/execution.h"
#include "executor/runtime/rank_runtime.h"
#include "executor/runtime/scratch_folder.h"
#include "traces/trace_io.h"

#include <algorithm>
#include <system_error>

#include <fmt/format.h>

namespace orrery::executor {

CpuInterpreter::CpuInterpreter(Plan plan, std::filesystem::path rank_executable, TrainingSettings settings)
    : plan_(std::move(plan)), rank_executable_(std::move(rank_executable)), settings_(std::move(settings)) {}

bool CpuInterpreter::enabled() const {
  std::error_code error;
  return std::filesystem::exists(rank_executable_, error);
}

std::vector<Unsupported> CpuInterpreter::unsupported(const StepProgram& program) const {
  std::vector<Unsupported> reasons;
  for (std::string& reason : cpu_unsupported(program)) reasons.push_back({std::move(reason)});
  return reasons;
}

Trace CpuInterpreter::run(const StepProgram& program, const RunInput& input) const {
  CHECK(unsupported(program).empty() && enabled());
  const ScratchFolder folder;
  ExecutionRequest request{.plan_path = (folder.path() / "plan.json").string(),
                           .program_hash = hash_of(program),
                           .settings = settings_,
                           .steps_only = input.steps_only};
  request.settings.num_steps = std::max(settings_.num_steps, input.num_steps);
  if (!settings_.corpus.empty()) request.settings.corpus = std::filesystem::absolute(settings_.corpus).string();
  write_file_atomically(request.plan_path, orrery::to_json(plan_));
  const std::string request_path = (folder.path() / "request.json").string();
  write_file_atomically(request_path, to_json(request));

  const LaunchResult launched =
      launch({.executable = rank_executable_.string(),
              .arguments = {"execute", request_path},
              .segment = {.num_ranks = static_cast<int>(program.mesh.world()), .time_out = settings_.time_out}});
  std::vector<Trace> traces;
  for (std::size_t rank = 0; rank < launched.results.size(); ++rank) {
    traces.push_back(read_trace_text(launched.results[rank], fmt::format("trace of rank {}", rank)));
  }
  Trace trace = merge_rank_traces(std::move(traces), program.mesh);
  trace.header.version = plan_.provenance.version;
  if (trace.power.empty()) trace.header.notes.push_back("energy: no counter");
  return trace;
}

namespace {

/// Adds the row of one rank to the matrix of its EP group.
void add_row(std::vector<LoadRecord>& loads, const LoadRecord& row, std::int64_t member, std::int64_t group) {
  const auto is_same = [&](const LoadRecord& other) {
    return other.step == row.step && other.layer == row.layer && other.micro_batch == row.micro_batch &&
           other.ep_group == row.ep_group;
  };
  auto found = std::find_if(loads.begin(), loads.end(), is_same);
  if (found == loads.end()) {
    LoadRecord record = row;
    record.routing.group = group;
    record.routing.pairs.assign(static_cast<std::size_t>(group * row.routing.num_experts), 0.0);
    found = loads.insert(loads.end(), std::move(record));
  }
  std::copy(row.routing.pairs.begin(), row.routing.pairs.end(),
            found->routing.pairs.begin() + static_cast<std::ptrdiff_t>(member * row.routing.num_experts));
}

}  // namespace

Trace merge_rank_traces(std::vector<Trace> traces, const Mesh& mesh) {
  CHECK(!traces.empty());
  Trace all;
  all.header = traces.front().header;
  all.steps = traces.front().steps;
  all.header.represents.clear();
  for (std::size_t rank = 0; rank < traces.size(); ++rank) {
    const Trace& trace = traces[rank];
    CHECK(trace.steps.size() == all.steps.size(), rank, trace.steps.size(), all.steps.size());
    all.header.represents[static_cast<std::int32_t>(rank)] = 1;
    for (std::size_t i = 0; i < trace.spans.size(); ++i) all.spans.push_back(trace.spans.at(i));
    for (std::size_t i = 0; i < trace.steps.size(); ++i) {
      all.steps[i].time = std::max(all.steps[i].time, trace.steps[i].time);
      all.steps[i].peak_memory = std::max(all.steps[i].peak_memory, trace.steps[i].peak_memory);
    }
    all.power.insert(all.power.end(), trace.power.begin(), trace.power.end());
    const std::int64_t member = mesh.index_in_group(Group::ep, RankId(static_cast<std::int32_t>(rank)));
    for (const LoadRecord& row : trace.loads) add_row(all.loads, row, member, mesh.ep());
  }
  return all;
}

std::filesystem::path rank_executable_beside_this() {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path() / "orrery-rank";
}

}  // namespace orrery::executor
