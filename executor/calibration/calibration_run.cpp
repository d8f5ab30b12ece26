// SPDX-License-Identifier: Apache-2.0
#include "executor/calibration/calibration_run.h"

#include "base/errors.h"
#include "executor/calibration/calibration_task.h"
#include "executor/calibration/sample_table.h"
#include "executor/kernels/gemm.h"
#include "executor/launch/launcher.h"
#include "executor/launch/memory_file.h"
#include "executor/runtime/rank_runtime.h"
#include "program/legality.h"
#include "program/lower.h"
#include "program/work.h"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <optional>

#include <fmt/format.h>

namespace orrery::executor {
namespace {

constexpr double kShareOfCollectives = 0.15;  // of the time, when they are timed by themselves
constexpr double kShareOfGeneral = 0.2;

/// What the processor calls itself.
std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) return line.substr(std::min(line.find(": "), line.size() - 2) + 2);
  }
  return "unknown CPU";
}

/// The program of a probe, or why there is none.
StepProgram program_of(const Probe& probe, std::int64_t num_ranks) {
  const std::vector<Violation> broken = violations(probe.model, probe.strategy, probe.batch, num_ranks);
  if (!broken.empty()) {
    throw ConfigError(
        fmt::format("cannot calibrate with {}: {}: {}", probe.model.name, broken.front().key, broken.front().expected));
  }
  StepProgram program = lower(probe.model, probe.strategy, probe.batch, num_ranks);
  const std::vector<std::string> reasons = cpu_unsupported(program);
  if (!reasons.empty()) {
    throw ConfigError(fmt::format("cannot calibrate with {}: {}", probe.model.name, reasons.front()));
  }
  return program;
}

void check_types(const CalibrationRequest& request) {
  const Probe* first = nullptr;
  for (const std::vector<Probe>* probes : {&request.probes, &request.general}) {
    for (const Probe& probe : *probes) {
      if (!first) first = &probe;
      if (probe.strategy.precision == first->strategy.precision) continue;
      throw ConfigError(fmt::format("cannot calibrate {} and {} at once: expected one type of numbers",
                                    name_of(first->strategy.precision), name_of(probe.strategy.precision)));
    }
  }
}

/// FLOPs of one step of the busiest rank, routers balanced.
Flops flops_of(const StepProgram& program) {
  Flops most;
  for (const RankClass& rank_class : program.classes) {
    Flops sum;
    for (const Op& op : rank_class.ops) {
      if (op.queue == Queue::compute) sum += work_of(op.key, program.shapes[op.shape], {}).flops;
    }
    most = std::max(most, sum);
  }
  return most;
}

class Run {
 public:
  explicit Run(const CalibrationRequest& request) : request_(request) {}

  Measurements all() {
    const double kept =
        (request_.collectives ? kShareOfCollectives : 0.0) + (request_.general.empty() ? 0.0 : kShareOfGeneral);
    const Seconds until = request_.max_time * (1.0 - kept);
    for (std::size_t i = 0; i < request_.probes.size(); ++i) {
      const auto left = static_cast<double>(request_.probes.size() - i);
      run_probe(request_.probes[i], asked_, std::max((until - elapsed()) / left, Seconds::zero()));
    }
    if (request_.collectives && request_.num_ranks > 1) {
      const Seconds time = request_.max_time * kShareOfCollectives;
      for (const RankSamples& samples : launch_task("collectives", {.max_time = time})) asked_.add_collectives(samples);
    }
    for (std::size_t i = 0; i < request_.general.size(); ++i) {
      const Flops work = flops_of(program_of(request_.general[i], request_.num_ranks));
      const Seconds remaining = request_.max_time - elapsed();
      if (seconds(least_per_flop_.value_or(0.0) * work.in(unit::flop)) > remaining) break;
      run_probe(request_.general[i], general_, remaining / static_cast<double>(request_.general.size() - i));
    }
    asked_.write_to(out_);
    general_.write_to(out_);
    return std::move(out_);
  }

 private:
  Seconds elapsed() const {
    return seconds(std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count());
  }

  void run_probe(const Probe& probe, SampleTable& table, Seconds max_time) {
    const StepProgram program = program_of(probe, request_.num_ranks);
    const Seconds before = elapsed();
    const std::string what = fmt::format("{}, pp {}, ep {}, micro-batch {}", probe.model.name, probe.strategy.pp,
                                         probe.strategy.ep, probe.strategy.micro_batch);
    for (const RankSamples& samples : launch_task(what, {.probe = probe, .max_time = max_time})) {
      table.add(program, samples);
    }
    const double per_flop = (elapsed() - before).in(unit::second) / flops_of(program).in(unit::flop);
    least_per_flop_ = std::min(per_flop, least_per_flop_.value_or(per_flop));
  }

  std::vector<RankSamples> launch_task(std::string_view what, CalibrationTask task) {
    if (request_.on_progress) request_.on_progress(what, std::min(1.0, elapsed() / request_.max_time));
    task.num_ranks = request_.num_ranks;
    task.gemm = request_.gemm;
    const MemoryFile file(to_json(task));
    const LaunchResult launched = launch({.executable = request_.rank_executable.string(),
                                          .arguments = {"calibrate", file.path()},
                                          .segment = {.num_ranks = static_cast<int>(request_.num_ranks)}});
    out_.conditions.threads_per_rank = launched.threads_per_rank;
    std::vector<RankSamples> samples;
    for (std::size_t rank = 0; rank < launched.results.size(); ++rank) {
      samples.push_back(read_rank_samples(launched.results[rank], fmt::format("samples of rank {}", rank)));
    }
    return samples;
  }

  const CalibrationRequest& request_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  Measurements out_{.conditions = {.active_ranks = request_.num_ranks}};
  SampleTable asked_, general_;
  std::optional<double> least_per_flop_;  // seconds of a probe, for each FLOP of one of its steps
};

}  // namespace

CalibrationRequest calibration_request(const Source& source, const Model& model, const BatchShape& batch,
                                       DType precision, std::int64_t num_ranks) {
  return {.num_ranks = num_ranks,
          .probes = model_probes(source, model, batch, precision, num_ranks),
          .general = general_probes(precision, num_ranks)};
}

Measurements calibrate_machine(const CalibrationRequest& request) {
  check_types(request);
  const Gemm& gemm = choose_gemm(request.gemm);  // a wrong name is the user's error before any rank starts
  for (const std::vector<Probe>* probes : {&request.probes, &request.general}) {
    for (const Probe& probe : *probes) program_of(probe, request.num_ranks);
  }
  Measurements measured = Run(request).all();
  measured.device = cpu_name();
  measured.software = fmt::format("CPU executor, matrix products by {}", gemm.name);
  return measured;
}

}  // namespace orrery::executor
