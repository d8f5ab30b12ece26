// SPDX-License-Identifier: Apache-2.0
#include "cli/execution.h"

#include "base/units_format.h"
#include "cli/prediction.h"
#include "cli/step_report.h"
#include "executor/runtime/cpu_interpreter.h"
#include "traces/summary.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace orrery::cli {
namespace {

/// Losses shown of a long run.
constexpr std::size_t kMostRows = 20;

Table losses_of(std::span<const StepRecord> steps) {
  Table table{.columns = {{"step", "step"}, {"loss", "loss"}, {"grad_norm", "gradient norm"}, {"time", "time"}},
              .rows = {}};
  const std::size_t every = (steps.size() + kMostRows - 1) / kMostRows;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const StepRecord& step = steps[i];
    if (i % every != 0 && i + 1 != steps.size()) continue;
    table.rows.push_back({step.step, step.loss, step.grad_norm, step.time});
  }
  return table;
}

/// What the tensors of a rank were, the largest first.
std::string largest_of(const MemoryRecord& memory) {
  constexpr std::size_t kMost = 3;
  std::vector<std::pair<Bytes, std::string>> all;
  for (const auto& [role, size] : memory.tensors) all.emplace_back(size, role);
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  std::string text;
  for (std::size_t i = 0; i < std::min(all.size(), kMost); ++i) {
    text += fmt::format("{}{} {}", i == 0 ? "" : ", ", all[i].second, all[i].first);
  }
  return text;
}

Table memory_of(std::span<const MemoryRecord> ranks) {
  Table table{.columns = {{"rank", "rank"},
                          {"weights", "weights"},
                          {"gradients", "gradients"},
                          {"optimizer", "optimizer"},
                          {"tensors", "tensors"},
                          {"total", "total"},
                          {"resident", "resident"},
                          {"largest_tensors", "largest tensors"}},
              .rows = {}};
  for (const MemoryRecord& memory : ranks) {
    table.rows.push_back({memory.rank, memory.weights, memory.gradients, memory.optimizer, memory.of_tensors(),
                          memory.total(), memory.resident ? Value(*memory.resident) : Value::unknown("not measured"),
                          largest_of(memory)});
  }
  return table;
}

/// What gradients in whole numbers take of the fullest rank beyond gradients in f32, by the formulas.
Bytes memory_of_whole_numbers(const Plan& plan) {
  Plan floating = plan;
  floating.strategy.grad_dtype = floating.strategy.grad_wire_dtype = DType::f32;
  return costmodel::peak_memory(lower(plan), plan.load) - costmodel::peak_memory(lower(floating), plan.load);
}

}  // namespace

Trace execute_plan(const Plan& plan, const executor::TrainingSettings& settings, const std::string& plan_name,
                   bool complete, executor::Job* job, executor::RunLog* log) {
  const executor::CpuInterpreter interpreter(plan, executor::rank_executable_beside_this(), settings, job, log);
  return run(interpreter, lower(plan),
             {.load = plan.load, .num_steps = settings.num_steps, .all_ranks = true, .complete = complete}, plan_name);
}

Report execution_report(const Plan& plan, const Trace& trace, std::span<const StepRecord> steps) {
  Report report("Execution");
  report.fact("model", "model", plan.model.name);
  add_workload(report, plan);
  add_strategy(report, plan);
  report.fact("threads_per_rank", "threads of a rank", trace.header.threads_per_rank);
  add_trace(report, plan, trace);
  add_memory(report, summarize(trace).peak_memory, plan.cluster.groups.front().device);
  if (plan.strategy.grad_dtype == DType::i64) {
    report.fact("reproducible_memory", "of it for reproducible sums", memory_of_whole_numbers(plan));
  }
  if (!trace.memory.empty()) {
    report.table("memory", "Memory of ranks when their tensors took most", memory_of(trace.memory));
  }
  report.table("steps", "Steps", losses_of(steps));
  const double first = steps.front().loss, last = steps.back().loss;
  if (steps.size() > 1 && !(last < first)) report.note("the loss did not fall");
  return report;
}

}  // namespace orrery::cli
