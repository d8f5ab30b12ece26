// SPDX-License-Identifier: Apache-2.0
// Times of collectives between rank processes: the best of many calls, on the slowest rank.
//     comm_benchmark [ranks [hosts]]        default 2 and 1; the program starts itself as the ranks
//     comm_benchmark 2+3                    hosts of different size
//     mpirun -n 2 comm_benchmark mpi        as many ranks as processes, over MPI
// Hosts share the ranks and talk over TCP, on the loopback interface.
// `bytes` is what a rank passes in (all-gather and reduce-scatter: the larger of the two buffers), `network` what all
// ranks together hand to the network in one call.
#include "base/errors.h"
#include "executor/comm/mpi_peers.h"
#include "executor/launch/launcher.h"
#include "executor/launch/rank_main.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <iostream>
#include <limits>
#include <numeric>
#include <optional>
#include <sstream>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace orrery::executor {
namespace {

using Call = std::function<CommReport()>;

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
      CommReport sent;
      if (rank == 0) sent = world->send(message, 1, "ping");
      if (rank == 1) world->receive(room, 0, "ping");
      if (rank == 1) world->send(message, 0, "pong");
      if (rank == 0) world->receive(room, 1, "pong");
      return sent;
    };
    const std::vector<std::pair<const char*, Call>> calls = {
        {"all-reduce", [&] { return world->all_reduce(std::span(other), "ar"); }},
        {"reduce-scatter", [&] { return world->reduce_scatter(input, shard, "rs"); }},
        {"all-gather",
         [&] { return world->all_gather(std::as_bytes(shard), std::as_writable_bytes(std::span(large)), "ag"); }},
        {"all-to-all", [&] { return world->all_to_all_v(message, blocks, room, blocks, "a2a"); }},
        {"broadcast", [&] { return world->broadcast(room, 0, "bc"); }},
        {"ping-pong / 2", ping_pong},
    };
    for (const auto& [name, call] : calls) {
      const double time = best_time(*world, call, bytes) / (name == calls.back().first ? 2 : 1);
      std::int64_t sent = call().bytes_on_network;
      world->all_reduce(std::span(&sent, 1), "sent");
      if (rank == 0) {
        process.send_result(fmt::format("{:<16} {:>10} {:>12.2f} {:>12}\n", name, bytes, time * 1e6, sent));
      }
    }
  }
}

LaunchSpec spec_of(const std::string& own_path, int num_ranks, Job* job) {
  LaunchSpec spec{.executable = own_path, .arguments = {"--rank"}, .segment = {.num_ranks = num_ranks}, .job = job};
  if (job != nullptr) spec.segment.clock_offset = job->clock_offset();
  return spec;
}

/// Launches the share of one host; what rank 0 has sent, on the first host.
std::string launch_host(const std::string& own_path, int num_ranks, const JobPlace& place, Carrier carrier,
                        int num_local = 0) {
  JobOptions options{.place = place, .carrier = carrier, .token = "benchmark", .listen = ""};
  options.num_local = num_local;
  Job job(options, num_ranks, {});
  const LaunchResult result = launch(spec_of(own_path, num_ranks, &job));
  job.finish();
  return job.is_first() ? result.results[0] : "";
}

void print(const std::string& title, const std::string& rows) {
  std::cout << fmt::format("{}\n{:<16} {:>10} {:>12} {:>12}\n", title, "collective", "bytes", "us", "network") << rows;
}

int run_over_mpi(const std::string& own_path) {
  const std::optional<JobPlace> place = job_place_of(variable_of_this_process);
  if (!place) throw ConfigError("expected several processes that mpirun has started");
  const std::string rows = launch_host(own_path, place->num_processes, *place, Carrier::mpi);
  if (place->process == 0) print(fmt::format("{} ranks over MPI", place->num_processes), rows);
  return 0;
}

/// `shares`: the ranks of each host.
int run(const std::string& own_path, const std::vector<int>& shares) {
  std::string rows;
  const int num_hosts = static_cast<int>(shares.size());
  const int num_ranks = std::accumulate(shares.begin(), shares.end(), 0);
  if (num_hosts == 1) {
    rows = launch(spec_of(own_path, num_ranks, nullptr)).results[0];
  } else {
    const HostPort rendezvous = own_place(listen_at({"127.0.0.1", 0}));
    const auto place = [&](int host) { return JobPlace{host, num_hosts, rendezvous, "benchmark"}; };
    std::vector<std::jthread> others;
    const auto launch_one = [&](int host) {
      return launch_host(own_path, num_ranks, place(host), Carrier::tcp, shares[static_cast<std::size_t>(host)]);
    };
    for (int host = 1; host < num_hosts; ++host) others.emplace_back([&, host] { launch_one(host); });
    rows = launch_one(0);
  }
  print(fmt::format("{} ranks on {} hosts", fmt::join(shares, " + "), num_hosts), rows);
  return 0;
}

/// "2+3", or a number of ranks on as many hosts as a second argument says.
std::vector<int> shares_of(const std::string& ranks, int num_hosts) {
  std::vector<int> shares;
  std::istringstream in(ranks);
  for (std::string share; std::getline(in, share, '+');) shares.push_back(std::stoi(share));
  return shares.size() > 1 ? shares : std::vector<int>(static_cast<std::size_t>(num_hosts), shares.front() / num_hosts);
}

}  // namespace
}  // namespace orrery::executor

int main(int argc, char** argv) {
  const std::string argument = argc > 1 ? argv[1] : "2";
  if (argument == "--rank") return orrery::executor::run_rank(orrery::executor::measure, orrery::executor::mpi_peers);
  if (argument == "mpi") return orrery::executor::run_over_mpi(argv[0]);
  return orrery::executor::run(argv[0], orrery::executor::shares_of(argument, argc > 2 ? std::stoi(argv[2]) : 1));
}
