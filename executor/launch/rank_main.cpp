// SPDX-License-Identifier: Apache-2.0
#include "executor/launch/rank_main.h"

#include "base/errors.h"
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

std::unique_ptr<Endpoint> endpoint_of(const RankEnvironment& environment) {
  std::shared_ptr<Segment> segment = Segment::open(environment.segment_descriptor);
  if (environment.listener_descriptor < 0) return std::make_unique<Endpoint>(std::move(segment), environment.rank);
  TcpSeat seat = read_seat(environment.seat_file);
  seat.listener = Descriptor(environment.listener_descriptor);
  return std::make_unique<Endpoint>(std::move(segment), environment.rank, std::move(seat));
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

int run_rank(const std::function<void(RankProcess&)>& body) {
  std::unique_ptr<RankProcess> process;
  const auto fail = [&](const std::exception& error, int status) {
    // Every other rank stops at once, and the launcher reports the message; without a seat there is only stderr.
    if (process) process->endpoint().segment().fail(process->rank(), error.what());
    if (!process) fmt::print(stderr, "{}\n", error.what());
    return status;
  };
  try {
    const RankEnvironment environment = RankEnvironment::of_this_process();
    end_with_launcher(environment.launcher);
    make_short_sleeps_short();
    process =
        std::make_unique<RankProcess>(endpoint_of(environment), environment.num_threads, environment.result_descriptor);
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
