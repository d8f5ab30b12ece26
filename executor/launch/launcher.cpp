// SPDX-License-Identifier: Apache-2.0
#include "executor/launch/launcher.h"

#include "base/errors.h"
#include "executor/bootstrap/host_link.h"
#include "executor/comm/clock.h"
#include "executor/launch/child_process.h"
#include "executor/launch/memory_file.h"
#include "executor/launch/rank_environment.h"
#include "executor/launch/seat_file.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <optional>
#include <thread>

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

namespace orrery::executor {
namespace {

constexpr int kLookEveryMilliseconds = 10;  // at the latest; a pipe that brings something or closes wakes us at once

std::string text_of_exit(int status) {
  if (WIFSIGNALED(status))
    return fmt::format("killed by signal {} ({})", WTERMSIG(status), ::strsignal(WTERMSIG(status)));
  return fmt::format("ended with exit status {}", WEXITSTATUS(status));
}

/// The ranks of one run on this host, from their start to their end.
class RankSet {
 public:
  RankSet(const LaunchSpec& spec, int num_threads)
      : spec_(spec),
        first_rank_(spec.job == nullptr ? 0 : spec.job->first_rank()),
        segment_(Segment::create(spec.segment)),
        on_line_(spec.on_line) {
    if (!on_line_) {
      on_line_ = [](int rank, std::string_view line) { fmt::print(stderr, "[rank {}] {}\n", rank, line); };
    }
    try {
      start(num_threads);
    } catch (const BackendError& error) {
      segment_->fail(first_rank_, error.what());  // for the other hosts of a job
      throw;
    }
  }

  /// Returns when no rank is left. Throws: RanksFailed, for the first failure.
  void run() {
    while (look_at_children() > 0) {
      wait_for_news();
      if (spec_.watch) look_for_stuck_ranks();
      end_what_has_failed();
    }
    throw_if_failed();
  }

  /// Throws: RanksFailed, for the first failure, also one on another host after all ranks here have ended.
  void throw_if_failed() const {
    const auto failure = segment_->failure();
    if (!failure) return;
    const std::vector<int> lost = lost_ranks(*failure);
    const Instant noticed = failed_at_.value_or(now());
    FailureTimes times{.last_sign = noticed, .noticed = noticed, .ended = now()};
    for (const int rank : lost.empty() ? std::vector<int>{failure->rank} : lost) {
      const auto child = static_cast<std::size_t>(rank - first_rank_);
      if (child < last_seen_.size()) times.last_sign = std::min(times.last_sign, last_seen_[child].since);
    }
    throw RanksFailed(*failure, lost, times);
  }

  std::vector<std::string> results() const {
    std::vector<std::string> results;
    for (const ChildProcess& child : children_) results.push_back(child.result());
    return results;
  }

 private:
  int rank_of(std::size_t child) const { return first_rank_ + static_cast<int>(child); }

  void start(int num_threads) {
    std::vector<std::string> command = {spec_.executable};
    command.insert(command.end(), spec_.arguments.begin(), spec_.arguments.end());
    RankEnvironment environment{
        .num_threads = num_threads, .segment_descriptor = segment_->descriptor(), .launcher = ::getpid()};
    std::vector<int> inherited = {segment_->descriptor()};
    if (spec_.job == nullptr) {
      for (int rank = 0; rank < segment_->num_ranks(); ++rank) {
        environment.rank = rank;
        children_.emplace_back(command, environment.variables(spec_.environment), inherited);
      }
      return;
    }
    link_.emplace(*spec_.job, *segment_);
    if (spec_.job->options().carrier == Carrier::mpi) {
      environment.rank = first_rank_;
      environment.uses_mpi = true;
      children_.emplace_back(command, environment.variables(spec_.environment), inherited);
      return;
    }
    seat_file_.emplace(to_json(spec_.job->seat()));
    environment.seat_file = seat_file_->path();
    // A listener is closed here once its rank has it: else others could connect to a rank that has died.
    for (const Descriptor& listener : spec_.job->take_listeners()) {
      environment.rank = rank_of(children_.size());
      environment.listener_descriptor = listener.number();
      inherited = {segment_->descriptor(), listener.number()};
      children_.emplace_back(command, environment.variables(spec_.environment), inherited);
    }
  }

  /// Takes what the ranks have written and how they have ended; returns how many still run.
  int look_at_children() {
    int num_running = 0;
    for (std::size_t i = 0; i < children_.size(); ++i) {
      const int rank = rank_of(i);
      // Marked before it is reaped: else a peer could see that it is gone before anybody can say why.
      const auto end = children_[i].poll_exit([&](int status) {
        if (status == 0) return;
        const bool is_first = segment_->fail(rank, text_of_exit(status), rank);
        const bool was_killed = std::ranges::find(killed_, rank) != killed_.end();
        if (is_first || (WIFSIGNALED(status) && !was_killed)) died_.push_back(rank);
      });
      const std::size_t num_known = children_[i].result().size();
      children_[i].read_pipes([&](std::string_view line) { on_line_(rank, line); });
      const std::string_view news = std::string_view(children_[i].result()).substr(num_known);
      if (!news.empty()) spec_.on_result(rank, news);
      if (!end) ++num_running;
    }
    if (!failed_at_ && segment_->failure()) failed_at_ = now();
    return num_running;
  }

  /// See RanksFailed. A rank that is waited for in vain may itself wait for another one; who really hangs is seen
  /// afterwards: the others end by themselves.
  std::vector<int> lost_ranks(const SegmentFailure& failure) const {
    std::vector<int> died = died_;
    if (failure.missing < 0) std::erase(died, failure.rank);  // it said why, and then fell
    if (!died.empty() || failure.missing < 0) return died;
    return killed_.empty() ? std::vector<int>{failure.missing} : killed_;
  }

  void wait_for_news() {
    std::vector<pollfd> pipes;
    for (const ChildProcess& child : children_) {
      for (const int pipe : child.open_pipes()) pipes.push_back({.fd = pipe, .events = POLLIN, .revents = 0});
    }
    ::poll(pipes.data(), pipes.size(), kLookEveryMilliseconds);
  }

  /// A rank that others wait for is named by them, a little earlier; this finds those that nobody waits for. Keys are
  /// read while they are written: a torn one only looks like news.
  void look_for_stuck_ranks() {
    const auto patience = spec_.segment.time_out + spec_.segment.time_out / 10;
    last_seen_.resize(children_.size());
    for (std::size_t i = 0; i < children_.size(); ++i) {
      if (children_[i].has_ended()) continue;
      const std::string key = segment_->key(rank_of(i));
      const std::uint32_t num_moves = segment_->num_moves(rank_of(i));
      LastSeen& seen = last_seen_[i];
      if (key != seen.key || num_moves != seen.num_moves || key.empty()) {
        seen = {key, num_moves, now()};
      } else if (now() - seen.since > patience) {
        segment_->fail(rank_of(i),
                       fmt::format("no new op within {:g} s", std::chrono::duration<double>(patience).count()),
                       rank_of(i));
      }
    }
  }

  /// The other ranks find out by themselves; one that does not, because it hangs, is killed when the grace is over.
  void end_what_has_failed() {
    if (!failed_at_ || now() < *failed_at_ + spec_.grace) return;
    for (std::size_t i = 0; i < children_.size(); ++i) {
      if (children_[i].has_ended()) continue;
      if (std::ranges::find(killed_, rank_of(i)) == killed_.end()) killed_.push_back(rank_of(i));
      children_[i].signal(SIGKILL);
    }
  }

  struct LastSeen {
    std::string key;
    std::uint32_t num_moves = 0;
    Instant since = now();
  };

  const LaunchSpec& spec_;
  int first_rank_;
  std::shared_ptr<Segment> segment_;
  std::function<void(int rank, std::string_view line)> on_line_;
  std::optional<MemoryFile> seat_file_;
  std::optional<HostLink> link_;  // goes after the children: it tells how they ended
  std::vector<ChildProcess> children_;
  std::vector<LastSeen> last_seen_;  // by child
  std::optional<Instant> failed_at_;
  std::vector<int> died_;    // by themselves, for whatever reason but their own exception
  std::vector<int> killed_;  // by us, when the grace was over
};

}  // namespace

int threads_per_rank(int num_cores, int num_ranks) { return std::max(1, num_cores / num_ranks); }

LaunchResult launch(const LaunchSpec& spec) {
  LaunchResult result;
  result.threads_per_rank = spec.threads_per_rank;
  if (result.threads_per_rank == 0) {
    const int num_cores = static_cast<int>(std::thread::hardware_concurrency());
    const int num_ranks = spec.job == nullptr ? spec.segment.num_ranks : spec.job->num_ranks_on_host();
    result.threads_per_rank = threads_per_rank(num_cores, num_ranks);
  }
  RankSet ranks(spec, result.threads_per_rank);
  ranks.run();
  result.results = ranks.results();
  if (spec.job != nullptr)
    result.results = spec.job->gather(std::move(result.results), [&] { ranks.throw_if_failed(); });
  return result;
}

}  // namespace orrery::executor
