// SPDX-License-Identifier: Apache-2.0
#include "executor/launch/rank_main.h"

#include "base/check.h"
#include "base/errors.h"
#include "executor/comm/tcp_peers.h"
#include "executor/launch/rank_environment.h"
#include "executor/launch/seat_file.h"

#include <cerrno>
#include <cstdio>
#include <system_error>

#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

namespace orrery::executor {
namespace {

constexpr int kExitBug = 1;
constexpr int kExitUser = 2;
constexpr int kExitBackend = 4;

// The kernel kills this process when the launcher ends. If the launcher has ended already, nobody waits for us.
void end_with_launcher(int launcher) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != launcher) ::_exit(kExitBackend);
}

// A rank that waits sleeps for 20 us at a time; by default the kernel may make 70 us of it.
void make_short_sleeps_short() { ::prctl(PR_SET_TIMERSLACK, 1000UL); }

std::unique_ptr<Endpoint> endpoint_of(const RankEnvironment& environment, const std::shared_ptr<Segment>& segment,
                                      const MakePeers& over_mpi) {
  const int rank = environment.rank;
  if (environment.uses_mpi) {
    CHECK(over_mpi != nullptr, rank);
    segment->set_key(rank, "MPI_Init");  // it waits for all ranks; so a launcher sees who hangs in it
    return std::make_unique<Endpoint>(segment, rank, over_mpi(rank, segment->num_ranks()));
  }
  if (environment.listener_descriptor < 0) return std::make_unique<Endpoint>(segment, rank);
  TcpSeat seat = read_seat(environment.seat_file);
  seat.listener = Descriptor(environment.listener_descriptor);
  return std::make_unique<Endpoint>(segment, rank, std::make_unique<TcpPeers>(std::move(seat), rank));
}

}  // namespace

RankProcess::RankProcess(std::unique_ptr<Endpoint> endpoint, int threads, int result_descriptor)
    : endpoint_(std::move(endpoint)), threads_(threads), result_descriptor_(result_descriptor) {}

void RankProcess::send_result(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(result_descriptor_, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0)
      throw BackendError(
          fmt::format("cannot send a result to the launcher: {}", std::system_category().message(errno)));
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
}

int run_rank(const std::function<void(RankProcess&)>& body, const MakePeers& over_mpi) {
  RankEnvironment environment;
  std::shared_ptr<Segment> segment;
  std::unique_ptr<RankProcess> process;
  const auto fail = [&](const std::exception& error, int status) {
    // Every other rank stops at once, and the launcher reports the message; without a segment there is only stderr.
    if (segment) segment->fail(environment.rank, error.what());
    if (!segment) fmt::print(stderr, "{}\n", error.what());
    return status;
  };
  try {
    environment = RankEnvironment::of_this_process();
    end_with_launcher(environment.launcher);
    make_short_sleeps_short();
    segment = Segment::open(environment.segment_descriptor);
    process = std::make_unique<RankProcess>(endpoint_of(environment, segment, over_mpi), environment.num_threads,
                                            environment.result_descriptor);
    body(*process);
    return 0;
  } catch (const ConfigError& error) {
    return fail(error, kExitUser);
  } catch (const BackendError& error) {
    return fail(error, kExitBackend);
  } catch (const std::exception& error) {
    return fail(error, kExitBug);
  }
}

}  // namespace orrery::executor
