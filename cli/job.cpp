// SPDX-License-Identifier: Apache-2.0
#include "cli/job.h"

#include "base/errors.h"
#include "executor/bootstrap/refusal.h"
#include "executor/runtime/execution.h"

#include <algorithm>
#include <exception>
#include <optional>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace orrery::cli {
namespace {

using namespace executor;

constexpr std::string_view kToken = "ORRERY_JOB_TOKEN";
constexpr std::string_view kFlags = "flags", kTorchrun = "torchrun";  // who says where a process stands

Carrier carrier_of(const JobFlags& flags) { return flags.communicator == "mpi" ? Carrier::mpi : Carrier::tcp; }

std::optional<HostPort> rendezvous_of(const JobFlags& flags) {
  if (flags.rendezvous.empty()) return std::nullopt;
  const std::optional<HostPort> place = host_port_of(flags.rendezvous);
  if (!place) throw ConfigError(fmt::format("--rendezvous: expected HOST:PORT, got '{}'", flags.rendezvous));
  return place;
}

std::optional<JobPlace> place_of(const JobFlags& flags) {
  const std::optional<HostPort> rendezvous = rendezvous_of(flags);
  if (flags.nodes == 0) {
    if (flags.node_rank >= 0) throw ConfigError("--node-rank: expected --nodes and --rendezvous with it");
    return job_place_of(variable_of_this_process, rendezvous);
  }
  if (flags.nodes == 1) return std::nullopt;
  if (flags.node_rank < 0 || flags.node_rank >= flags.nodes || !rendezvous)
    throw ConfigError(fmt::format("--nodes {}: expected --node-rank from 0 to {} and --rendezvous HOST:PORT",
                                  flags.nodes, flags.nodes - 1));
  return JobPlace{.process = flags.node_rank,
                  .num_processes = flags.nodes,
                  .rendezvous = *rendezvous,
                  .source = std::string(kFlags)};
}

/// MPI finds the other processes by itself, so it has to know them: flags and torchrun do not tell it.
void check_started_for_mpi(const std::optional<JobPlace>& place, int num_ranks, std::string_view command) {
  if (place ? place->source != kFlags && place->source != kTorchrun : num_ranks == 1) return;
  throw ConfigError("--communicator mpi: expected processes that mpirun has started, one for each rank",
                    fmt::format("mpirun -n {} orrery {} --communicator mpi", num_ranks, command));
}

}  // namespace

void add_job_options(CLI::App& command, JobFlags& flags) {
  command
      .add_option(
          "--nodes", flags.nodes,
          "processes that share the ranks, each started by hand on its host; 1: this one alone; 0: as torchrun, "
          "mpirun or srun has started it")
      ->capture_default_str()
      ->check(CLI::Range(0, 4096));
  command.add_option("--node-rank", flags.node_rank, "which of them this is, from 0; 0 reports and writes the files")
      ->check(CLI::Range(0, 4095));
  command
      .add_option("--local-ranks", flags.local_ranks,
                  "ranks that this process starts (default: every process as many), on hosts of different size")
      ->check(CLI::Range(1, 4096));
  command.add_option("--rendezvous", flags.rendezvous,
                     "HOST:PORT of process 0, where the others find it; all need the same ORRERY_JOB_TOKEN");
  command.add_option("--listen", flags.listen,
                     "address to listen at (default: of the rendezvous, and of the way to it)");
  command
      .add_option("--communicator", flags.communicator,
                  "what carries bytes between the processes: tcp, or mpi, for which mpirun starts one for each rank; "
                  "ranks of one process share memory")
      ->capture_default_str()
      ->check(CLI::IsMember({"tcp", "mpi"}));
}

bool is_shared(const JobFlags& flags) { return place_of(flags).has_value(); }

bool is_first_process(const JobFlags& flags) {
  const std::optional<JobPlace> place = place_of(flags);
  return !place || place->process == 0;
}

std::unique_ptr<Job> join_job(const JobFlags& flags, int num_ranks, JobFacts facts, std::chrono::nanoseconds time_out,
                              std::string_view command) {
  const std::optional<JobPlace> place = place_of(flags);
  const Carrier carrier = carrier_of(flags);
  if (carrier == Carrier::mpi) check_started_for_mpi(place, num_ranks, command);
  if (!place && flags.local_ranks > 0) throw ConfigError("--local-ranks: expected --nodes, or a launcher of several");
  if (!place) return nullptr;
  const std::optional<std::string> token = variable_of_this_process(kToken);
  if (!token)
    throw ConfigError(fmt::format("{}: expected the secret of the job, got nothing", kToken),
                      "any text that only this job knows, the same on every host: openssl rand -hex 16");
  const JobOptions options{.place = *place,
                           .carrier = carrier,
                           .token = *token,
                           .listen = flags.listen,
                           .time_out = time_out,
                           .num_local = flags.local_ranks};
  facts.emplace("communicator", name_of(carrier));
  return std::make_unique<Job>(options, num_ranks, facts);
}

std::unique_ptr<Job> join_job(const JobFlags& flags, const StepProgram& program, const TrainingSettings& settings,
                              std::int64_t first_step, const std::string& plan_name) {
  JobFacts facts = is_shared(flags) ? job_facts_of(program, settings, first_step) : JobFacts();
  facts.emplace("path of program", plan_name);
  return join_job(flags, static_cast<int>(program.mesh.world()), std::move(facts), settings.time_out, "execute PLAN");
}

void refuse_job(const JobFlags& flags, std::string_view why, std::chrono::nanoseconds time_out) {
  constexpr std::chrono::nanoseconds kLongest = std::chrono::seconds(10);
  try {
    const std::optional<JobPlace> place = place_of(flags);
    const std::optional<std::string> token = variable_of_this_process(kToken);
    if (!place || place->process == 0 || !token) return;
    executor::refuse_job(*place, *token, why, std::min(time_out, kLongest));
  } catch (const std::exception&) {
    return;  // process 0 is not there yet: it will wait, and say for whom
  }
}

}  // namespace orrery::cli
