// SPDX-License-Identifier: Apache-2.0
#include "executor/calibration/calibration_run.h"

#include "base/errors.h"
#include "executor/calibration/calibration_task.h"
#include "executor/calibration/collective_run.h"
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
#include <map>
#include <optional>
#include <set>
#include <thread>

#include <fmt/format.h>

namespace orrery::executor {
namespace {

constexpr double kShareOfCollectives = 0.15;  // of the time, when they are timed by themselves
constexpr double kShareOfGeneral = 0.2;
constexpr double kShareOfChecks = 0.15;  // of probes that run once more
/// Checks that are made even if the time is over: what lies outside of eight is a ninth of cases on either side.
constexpr std::size_t kFewestChecks = 8;

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

/// Ranks that share this host's cores.
std::int64_t ranks_here(const CalibrationRequest& request) {
  return request.job == nullptr ? request.num_ranks : request.job->num_ranks_on_host();
}

Average average_of(const CalibrationRequest& request) {
  const std::int64_t num_cores = std::thread::hardware_concurrency();  // 0: unknown
  return num_cores > 0 && ranks_here(request) > num_cores ? Average::mean : Average::median;
}

/// Whether each process of a job has one rank: then no two ranks of a host share the memory of a process, and what
/// carries bytes within a host is one thing.
bool has_one_rank_each(const Job& job) { return job.num_processes() == job.num_ranks(); }

bool is_on_one_host(const Job& job) {
  for (int rank = 1; rank < job.num_ranks(); ++rank) {
    if (job.host_of(rank) != job.host_of(0)) return false;
  }
  return true;
}

/// Nodes of the group in which `rank` measured; 0: no point, as where they do not have as many members each. Processes
/// of several ranks on one host stand for hosts; but beside other hosts what they send each other is of neither path.
std::int64_t nodes_of(const Job& job, int rank, const CollectiveSamples& samples) {
  const GroupShape shape{static_cast<int>(samples.ranks), static_cast<int>(samples.stride)};
  std::map<std::string, int> by_host, by_process;
  for (const int member : members_of(shape, rank)) {
    ++by_host[job.host_of(member)];
    ++by_process[std::to_string(job.process_of(member))];
  }
  const bool between_processes = by_host.size() == 1 && by_process.size() > 1 && !has_one_rank_each(job);
  if (between_processes && !is_on_one_host(job)) return 0;
  const std::map<std::string, int>& nodes = between_processes ? by_process : by_host;
  const int each = nodes.begin()->second;
  const bool even = std::ranges::all_of(nodes, [&](const auto& node) { return node.second == each; });
  return even ? static_cast<std::int64_t>(nodes.size()) : 0;
}

class Run {
 public:
  explicit Run(const CalibrationRequest& request) : request_(request) {}

  Measurements all() {
    if (request_.job != nullptr) {
      time_collectives_of_job();
      if (!request_.job->is_first()) return {};
    }
    const double kept = (request_.collectives ? kShareOfCollectives : 0.0) +
                        (request_.general.empty() ? 0.0 : kShareOfGeneral) + kShareOfChecks;
    const Seconds until = request_.max_time * (1.0 - kept);
    for (std::size_t i = 0; i < request_.probes.size(); ++i) {
      const auto left = static_cast<double>(request_.probes.size() - i);
      run_probe(request_.probes[i], asked_, std::max((until - elapsed()) / left, Seconds::zero()));
    }
    if (request_.job == nullptr && request_.collectives && request_.num_ranks > 1) {
      for (const RankSamples& samples : launch_task("collectives", task_of_collectives())) {
        asked_.add_collectives(samples);
      }
    }
    for (std::size_t i = 0; i < request_.general.size(); ++i) {
      const Flops work = flops_of(program_of(request_.general[i], ranks_here(request_)));
      const Seconds remaining = request_.max_time * (1.0 - kShareOfChecks) - elapsed();
      if (seconds(least_per_flop_.value_or(0.0) * work.in(unit::flop)) > remaining) break;
      run_probe(request_.general[i], general_, remaining / static_cast<double>(request_.general.size() - i));
    }
    asked_.write_to(out_);
    general_.write_to(out_);
    check_steps();
    return std::move(out_);
  }

 private:
  Seconds elapsed() const {
    return seconds(std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count());
  }

  CalibrationTask task_of_collectives() const { return {.max_time = request_.max_time * kShareOfCollectives}; }

  /// Over shared memory between ranks of one process, over TCP or MPI between others.
  void time_collectives_of_job() {
    const std::vector<RankSamples> of_ranks = launch_task("collectives", task_of_collectives(), request_.job);
    for (std::size_t rank = 0; rank < of_ranks.size(); ++rank) {
      asked_.add_collectives(of_ranks[rank], [&](const CollectiveSamples& samples) {
        return nodes_of(*request_.job, static_cast<int>(rank), samples);
      });
    }
  }

  void run_probe(const Probe& probe, SampleTable& table, Seconds max_time) {
    const StepProgram program = program_of(probe, ranks_here(request_));
    const Seconds before = elapsed();
    const std::string what = fmt::format("{}, pp {}, ep {}, micro-batch {}", probe.model.name, probe.strategy.pp,
                                         probe.strategy.ep, probe.strategy.micro_batch);
    for (const RankSamples& samples : launch_task(what, {.probe = probe, .max_time = max_time})) {
      // The ranks of a probe share memory, those of the job perhaps not.
      request_.job == nullptr ? table.add(program, samples) : table.add_ops(program, samples);
    }
    const double per_flop = (elapsed() - before).in(unit::second) / flops_of(program).in(unit::flop);
    least_per_flop_ = std::min(per_flop, least_per_flop_.value_or(per_flop));
  }

  /// Runs probes once more, spread over all of them, for their steps alone.
  void check_steps() {
    const std::size_t count = request_.probes.size();
    std::set<std::size_t> done;
    for (std::size_t stride = std::max<std::size_t>(count / kFewestChecks, 1); stride > 0; stride /= 2) {
      for (std::size_t i = 0; i < count; i += stride) {
        if (done.size() >= kFewestChecks && elapsed() >= request_.max_time) return;
        if (!done.insert(i).second) continue;
        const auto left = static_cast<double>(count - done.size() + 1);
        const Seconds max_time = std::max((request_.max_time - elapsed()) / left, Seconds::zero());
        add_steps(i, launch_task("checks", {.probe = request_.probes[i], .max_time = max_time}));
      }
    }
  }

  /// A step is as long as its slowest rank's.
  void add_steps(std::size_t probe, const std::vector<RankSamples>& of_ranks) {
    StepMeasurement measured{.run = probe, .times = {}};
    for (std::size_t step = 0; step < of_ranks.front().steps.size(); ++step) {
      double longest = 0.0;
      for (const RankSamples& rank : of_ranks) longest = std::max(longest, rank.steps.at(step));
      measured.times.push_back(seconds(longest));
    }
    out_.steps.push_back(std::move(measured));
  }

  std::vector<RankSamples> launch_task(std::string_view what, CalibrationTask task, Job* job = nullptr) {
    if (request_.on_progress) request_.on_progress(what, std::min(1.0, elapsed() / request_.max_time));
    task.num_ranks = job == nullptr ? ranks_here(request_) : request_.num_ranks;
    task.gemm = request_.gemm;
    const MemoryFile file(to_json(task));
    const LaunchResult launched = launch({.executable = request_.rank_executable.string(),
                                          .arguments = {"calibrate", file.path()},
                                          .segment = {.num_ranks = static_cast<int>(task.num_ranks)},
                                          .job = job});
    out_.conditions.threads_per_rank = launched.threads_per_rank;
    std::vector<RankSamples> samples;
    for (std::size_t rank = 0; rank < launched.results.size(); ++rank) {
      samples.push_back(read_rank_samples(launched.results[rank], fmt::format("samples of rank {}", rank)));
    }
    return samples;
  }

  const CalibrationRequest& request_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  Measurements out_{.conditions = {.active_ranks = ranks_here(request_)}};
  SampleTable asked_{average_of(request_)}, general_{average_of(request_)};
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
    for (const Probe& probe : *probes) program_of(probe, ranks_here(request));
  }
  Measurements measured = Run(request).all();
  measured.device = cpu_name();
  measured.software = fmt::format("CPU executor, matrix products by {}", gemm.name);
  if (request.job != nullptr) {
    measured.software +=
        fmt::format(", {} processes over {}", request.job->num_processes(), name_of(request.job->options().carrier));
  }
  return measured;
}

}  // namespace orrery::executor
