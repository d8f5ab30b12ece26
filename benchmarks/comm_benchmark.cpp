// SPDX-License-Identifier: Apache-2.0
// Times of collectives between rank processes: the best of many calls, on the slowest rank.
//     comm_benchmark [ranks [hosts]]        default 2 and 1; the program starts itself as the ranks
//     mpirun -n 2 comm_benchmark mpi        as many ranks as processes, over MPI
// Hosts share the ranks and talk over TCP, on the loopback interface.
// `bytes` is what a rank passes in (all-gather and reduce-scatter: the larger of the two buffers).
#include "base/errors.h"
#include "executor/comm/mpi_peers.h"
#include "executor/launch/launcher.h"
#include "executor/launch/rank_main.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <iostream>
#include <limits>
#include <optional>
#include <thread>
#include <vector>

#include <fmt/format.h>

namespace orrery::executor {
namespace {

using Call = std::function<void()>;

/// Seconds per call: each batch is as long as its slowest rank, and the shortest of the batches counts.
double best_time(Communicator& world, const Call& call, std::int64_t bytes) {
  const int batch = bytes <= (1 << 16) ? 100 : bytes <= (1 << 20) ? 10 : 1;
  double best = std::numeric_limits<double>::infinity();
  const Instant end = now() + std::chrono::milliseconds(600);
  std::int64_t go_on = 1;
  while (go_on != 0) {
    world.barrier("start");
    const Instant start = now();
    for (int i = 0; i < batch; ++i) call();
    std::vector<double> times(static_cast<std::size_t>(world.size()));
    const double mine = std::chrono::duration<double>(now() - start).count() / batch;
    world.all_gather(std::as_bytes(std::span(&mine, 1)), std::as_writable_bytes(std::span(times)), "times");
    best = std::min(best, *std::ranges::max_element(times));
    go_on = now() < end ? 1 : 0;
    world.broadcast(std::as_writable_bytes(std::span(&go_on, 1)), 0, "go on");
  }
  return best;
}

void measure(RankProcess& process) {
  const auto world = process.endpoint().world();
  const int n = world->size();
  const int rank = world->rank();
  for (const std::int64_t bytes : {64L, 16L << 10, 256L << 10, 4L << 20, 32L << 20}) {
    std::vector<float> large(static_cast<std::size_t>(bytes / 4), 1.0F);
    std::vector<float> other(large.size());
    const std::vector<std::int64_t> even(static_cast<std::size_t>(n), bytes / n);
    const Blocks blocks = Blocks::contiguous(even);
    const std::span<float> shard = std::span(other).subspan(0, large.size() / static_cast<std::size_t>(n));
    const std::span<const float> input(large);
    const auto message = std::as_bytes(input);
    const auto room = std::as_writable_bytes(std::span(other));

    const auto ping_pong = [&] {  // between ranks 0 and 1; half of it is one message
      if (rank == 0) world->send(message, 1, "ping");
      if (rank == 1) world->receive(room, 0, "ping");
      if (rank == 1) world->send(message, 0, "pong");
      if (rank == 0) world->receive(room, 1, "pong");
    };
    const std::vector<std::pair<const char*, Call>> calls = {
        {"all-reduce", [&] { world->all_reduce(std::span(other), "ar"); }},
        {"reduce-scatter", [&] { world->reduce_scatter(input, shard, "rs"); }},
        {"all-gather",
         [&] { world->all_gather(std::as_bytes(shard), std::as_writable_bytes(std::span(large)), "ag"); }},
        {"all-to-all", [&] { world->all_to_all_v(message, blocks, room, blocks, "a2a"); }},
        {"broadcast", [&] { world->broadcast(room, 0, "bc"); }},
        {"ping-pong / 2", ping_pong},
    };
    for (const auto& [name, call] : calls) {
      const double time = best_time(*world, call, bytes) / (name == calls.back().first ? 2 : 1);
      if (rank == 0) process.send_result(fmt::format("{:<16} {:>10} {:>12.2f}\n", name, bytes, time * 1e6));
    }
  }
}

LaunchSpec spec_of(const std::string& own_path, int num_ranks, Job* job) {
  LaunchSpec spec{.executable = own_path, .arguments = {"--rank"}, .segment = {.num_ranks = num_ranks}, .job = job};
  if (job != nullptr) spec.segment.clock_offset = job->clock_offset();
  return spec;
}

/// Launches the share of one host; what rank 0 has sent, on the first host.
std::string launch_host(const std::string& own_path, int num_ranks, const JobPlace& place, Carrier carrier) {
  Job job({.place = place, .carrier = carrier, .token = "benchmark", .listen = ""}, num_ranks, {});
  const LaunchResult result = launch(spec_of(own_path, num_ranks, &job));
  job.finish();
  return job.is_first() ? result.results[0] : "";
}

void print(const std::string& title, const std::string& rows) {
  std::cout << fmt::format("{}\n{:<16} {:>10} {:>12}\n", title, "collective", "bytes", "us") << rows;
}

int run_over_mpi(const std::string& own_path) {
  const std::optional<JobPlace> place = job_place_of(variable_of_this_process);
  if (!place) throw ConfigError("expected several processes that mpirun has started");
  const std::string rows = launch_host(own_path, place->num_processes, *place, Carrier::mpi);
  if (place->process == 0) print(fmt::format("{} ranks over MPI", place->num_processes), rows);
  return 0;
}

int run(const std::string& own_path, int num_ranks, int num_hosts) {
  std::string rows;
  if (num_hosts == 1) {
    rows = launch(spec_of(own_path, num_ranks, nullptr)).results[0];
  } else {
    const HostPort rendezvous = own_place(listen_at({"127.0.0.1", 0}));
    const auto place = [&](int host) { return JobPlace{host, num_hosts, rendezvous, "benchmark"}; };
    std::vector<std::jthread> others;
    for (int host = 1; host < num_hosts; ++host)
      others.emplace_back([&, host] { launch_host(own_path, num_ranks, place(host), Carrier::tcp); });
    rows = launch_host(own_path, num_ranks, place(0), Carrier::tcp);
  }
  print(fmt::format("{} ranks on {} hosts", num_ranks, num_hosts), rows);
  return 0;
}

}  // namespace
}  // namespace orrery::executor

int main(int argc, char** argv) {
  const std::string argument = argc > 1 ? argv[1] : "2";
  if (argument == "--rank") return orrery::executor::run_rank(orrery::executor::measure, orrery::executor::mpi_peers);
  if (argument == "mpi") return orrery::executor::run_over_mpi(argv[0]);
  return orrery::executor::run(argv[0], std::stoi(argument), argc > 2 ? std::stoi(argv[2]) : 1);
}
