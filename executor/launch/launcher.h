// SPDX-License-Identifier: Apache-2.0
// Starts the ranks of one run as processes of this host, all of them or its share of a job, and sees to it that all of
// them end: in good order, or, when one dies or fails, with an error that says who, where and how. Ranks are started by
// exec and never by a bare fork: the OpenMP runtime inside oneDNN hangs in a forked child whose parent has run a GEMM.
// A rank that loses its launcher is killed by the kernel (PR_SET_PDEATHSIG), and the segment has no name, so nothing
// outlives a crash.
#pragma once

#include "executor/bootstrap/job.h"
#include "executor/comm/shm_segment.h"
#include "executor/launch/ranks_failed.h"

#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace orrery::executor {

struct LaunchSpec {
  std::string executable;              ///< a path; the rank's main calls `run_rank` (rank_main.h)
  std::vector<std::string> arguments;  ///< without the name of the program
  std::vector<std::pair<std::string, std::string>> environment;  ///< beyond what this process has
  SegmentOptions segment;                                        ///< with the number of ranks; in a job, of all hosts
  int threads_per_rank = 0;                                      ///< 0: cores of this machine / ranks, at least 1
  /// The job of which this process starts a share of the ranks; none: it starts all. Outlives the call.
  Job* job = nullptr;
  /// How long ranks may take to end by themselves after one of them has failed; then they are killed.
  std::chrono::nanoseconds grace = std::chrono::seconds(5);
  /// Whether a rank that has begun an op and begins no other for a time-out counts as stuck, also when no other rank
  /// waits for it. For ranks that say what they do.
  bool watch = false;
  /// Takes each line that a rank prints, stdout and stderr alike, in this thread; by default it goes to stderr with the
  /// rank in front.
  std::function<void(int rank, std::string_view line)> on_line;
  /// Takes each part of a result as it comes, in this thread; the whole is in the LaunchResult all the same.
  std::function<void(int rank, std::string_view bytes)> on_result = [](int, std::string_view) {};
};

struct LaunchResult {
  int threads_per_rank = 1;
  /// Per rank: the bytes it sent with `RankProcess::send_result`. Of a job, process 0 gets those of all ranks, and the
  /// others get none.
  std::vector<std::string> results;
};

/// max(1, cores / ranks): ranks that each take all cores would only disturb each other.
int threads_per_rank(int num_cores, int num_ranks);

/// Runs all ranks to their end. Blocks; the thread that calls it must live as long as the ranks do.
/// Throws: BackendError, when a rank cannot be started; RanksFailed, when one dies or fails, on whichever host. By then
/// none is left here.
LaunchResult launch(const LaunchSpec& spec);

}  // namespace orrery::executor
