// SPDX-License-Identifier: Apache-2.0
// Ranks as threads of the test: what the thread sanitizer can see, unlike ranks that are processes.
#pragma once

#include "executor/comm/endpoint.h"
#include "executor/comm/tcp_peers.h"
#include "tests/unit/executor/comm/delays.h"

#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace orrery::executor::testing {

/// How the ranks reach each other. With `tcp` each is a host of its own; with `islands` two share one, with `unequal`
/// two, three, two and so on, so that memory and the network meet in one group and in one rank. With `mpi` they are
/// processes, and not threads of one.
enum class Backend { shm, tcp, islands, unequal, mpi };

inline std::string name_of(Backend backend) {
  switch (backend) {
    case Backend::shm:
      return "shm";
    case Backend::tcp:
      return "tcp";
    case Backend::islands:
      return "islands";
    case Backend::unequal:
      return "unequal";
    case Backend::mpi:
      return "mpi";
  }
  return "";
}

/// The host of each rank.
inline std::vector<int> hosts_of(Backend backend, int num_ranks) {
  std::vector<int> hosts;
  for (int host = 0; std::ssize(hosts) < num_ranks; ++host) {
    const int share = backend == Backend::tcp ? 1 : backend == Backend::unequal ? 2 + host % 2 : 2;
    for (int i = 0; i < share && std::ssize(hosts) < num_ranks; ++i) hosts.push_back(host);
  }
  return hosts;
}

/// The hosts of all ranks on the loopback interface, with the listener of each rank.
inline std::vector<TcpSeat> seats_of(Backend backend, int num_ranks) {
  std::vector<TcpSeat> seats(static_cast<std::size_t>(num_ranks));
  std::vector<HostPort> places;
  const std::vector<int> hosts = hosts_of(backend, num_ranks);
  for (TcpSeat& seat : seats) {
    seat.listener = listen_at({"127.0.0.1", 0});
    places.push_back(own_place(seat.listener));
  }
  for (TcpSeat& seat : seats) {
    seat.places = places;
    seat.hosts = hosts;
    seat.token = "secret of the test";
  }
  return seats;
}

/// The seat of `rank`; takes its place in `seats`.
inline std::unique_ptr<Endpoint> endpoint_of(Backend backend, const std::shared_ptr<Segment>& segment, int rank,
                                             std::vector<TcpSeat>& seats) {
  auto endpoint =
      backend == Backend::shm
          ? std::make_unique<Endpoint>(segment, rank)
          : std::make_unique<Endpoint>(
                segment, rank, std::make_unique<TcpPeers>(std::move(seats[static_cast<std::size_t>(rank)]), rank));
  if (const auto seed = delay_seed()) endpoint->before_waiting(delays_of(*seed, rank));
  return endpoint;
}

/// Runs `body` on each rank of a new segment and returns what each rank died of; empty for those that did not.
inline std::vector<std::string> errors_of_ranks(Backend backend, const SegmentOptions& options,
                                                const std::function<void(Endpoint&)>& body) {
  const auto segment = Segment::create(options);
  std::vector<TcpSeat> seats = seats_of(backend, options.num_ranks);
  std::vector<std::string> errors(static_cast<std::size_t>(options.num_ranks));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < options.num_ranks; ++rank) {
    threads.emplace_back([&, rank] {
      const auto endpoint = endpoint_of(backend, segment, rank, seats);
      try {
        body(*endpoint);
      } catch (const std::exception& error) {
        errors[static_cast<std::size_t>(rank)] = error.what();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return errors;
}

/// The same, when no rank may fail.
inline void run_ranks(Backend backend, const SegmentOptions& options, const std::function<void(Endpoint&)>& body) {
  for (const std::string& error : errors_of_ranks(backend, options, body)) {
    if (!error.empty()) throw std::runtime_error(error);
  }
}

/// Small chunks and rings, so that small messages already take several steps.
inline SegmentOptions small_segment(int num_ranks) {
  return {.num_ranks = num_ranks,
          .chunk_bytes = 4096,
          .ring_bytes = 4096,
          .total_bytes = std::int64_t{1} << 26,
          .time_out = std::chrono::seconds(60)};
}

}  // namespace orrery::executor::testing
