// SPDX-License-Identifier: Apache-2.0
#include "executor/runtime/step_metrics.h"

#include "base/files.h"
#include "traces/queue_names.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace orrery::executor {
namespace {

/// The dimension along which a queue's messages travel. What a rank sends from between its products is of no queue of
/// its own.
std::string_view dimension_of(Queue queue) {
  if (queue == Queue::compute) return "inline";
  if (queue == Queue::copy) return "host";
  return is_pipeline(queue) ? "pp" : name_of(kQueueNames, queue);
}

RunMetrics empty_metrics(const StepProgram& program) {
  return {.model = program.model.name, .num_ranks = program.mesh.world(), .step_time = std::nullopt, .totals = {}};
}

}  // namespace

void start_metrics_file(const std::string& path, const StepProgram& program, RunStart start) {
  RunMetrics metrics = empty_metrics(program);
  std::error_code error;
  const bool goes_on = start != RunStart::anew && std::filesystem::exists(path, error);
  if (goes_on) metrics.totals = read_totals(read_file(path), path);
  if (start == RunStart::restarted) ++metrics.totals.restarts;
  write_file_atomically(path, metrics_text(metrics));
}

StepMetrics::StepMetrics(RankRuntime& runtime, std::string path, std::string lines_path)
    : endpoint_(runtime.endpoint()),
      rank_(runtime.state()),
      path_(std::move(path)),
      lines_path_(std::move(lines_path)) {
  metrics_ = empty_metrics(rank_.program);
  if (!path_.empty() && rank_.view.rank.value() == 0) metrics_.totals = read_totals(read_file(path_), path_);
}

void StepMetrics::after_step(const RankRuntime::Step& step, std::optional<Joules> energy) {
  const std::string key = fmt::format("metrics of step {}", step.record.step);
  endpoint_.set_key(key);
  const auto place = [](Queue queue, OpCode op) {
    return static_cast<std::size_t>(queue) * kNumOpCodes + static_cast<std::size_t>(op);
  };
  std::vector<std::int64_t> sent(static_cast<std::size_t>(kNumQueues) * kNumOpCodes);
  for (const Span& span : step.spans) {
    sent[place(span.queue, span.key.op)] += static_cast<std::int64_t>(span.bytes.in(unit::byte));
  }
  rank_.groups.world().all_reduce(std::span(sent), key);
  const double own_time = step.record.time.in(unit::second);
  std::vector<double> times(static_cast<std::size_t>(rank_.program.mesh.world()));
  rank_.groups.world().all_gather(std::as_bytes(std::span(&own_time, 1)), std::as_writable_bytes(std::span(times)),
                                  key);
  if (rank_.view.rank.value() != 0) return;

  StepLine line{.step = step.record.step,
                .time = seconds(*std::max_element(times.begin(), times.end())),
                .tokens = std::llround(step.record.tokens),
                .loss = step.record.loss,
                .grad_norm = step.record.grad_norm,
                .sent_bytes = {},
                .energy = energy};
  for (int queue = 0; queue < kNumQueues; ++queue) {
    for (int op = 0; op < kNumOpCodes; ++op) {
      const std::int64_t bytes = sent[place(static_cast<Queue>(queue), static_cast<OpCode>(op))];
      if (bytes == 0) continue;
      const std::string_view dimension = dimension_of(static_cast<Queue>(queue));
      line.sent_bytes[{std::string(dimension), std::string(name_of(static_cast<OpCode>(op)))}] += bytes;
    }
  }
  metrics_.step_time = line.time;
  metrics_.totals.tokens += line.tokens;
  if (energy) metrics_.totals.energy = metrics_.totals.energy.value_or(Joules()) + *energy;
  for (const auto& [place_of_bytes, bytes] : line.sent_bytes) metrics_.totals.sent_bytes[place_of_bytes] += bytes;
  if (!path_.empty()) write_file_atomically(path_, metrics_text(metrics_));
  if (!lines_path_.empty()) append_step_line(lines_path_, line);
}

}  // namespace orrery::executor
