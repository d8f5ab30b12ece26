// SPDX-License-Identifier: Apache-2.0
// Keeps the segments of all hosts of a job telling the same story: a thread of each launcher says what its ranks do and
// why one failed, and writes into its own segment what the others say. So every wait on every host knows the op of the
// peer that it waits for, and ends soon after any rank of the job has failed, its launcher has died, or its host is not
// heard of any more.
#pragma once

#include "executor/bootstrap/job.h"
#include "executor/comm/clock.h"
#include "executor/comm/shm_segment.h"

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

namespace orrery::executor {

class HostLink {
 public:
  /// Both outlive it.
  HostLink(const Job& job, Segment& segment);
  HostLink(const HostLink&) = delete;
  HostLink& operator=(const HostLink&) = delete;
  /// Says once more how this host is, then stops.
  ~HostLink();

 private:
  void run();
  void beat(bool is_last);
  std::string own_state(bool is_last);
  void take_state_of(int process, const std::string& state);
  /// Stops the run for a failure of `process` that none of its ranks has told.
  void fail(int process, const std::string& why);

  const Job& job_;
  Segment& segment_;
  std::unique_ptr<StoreClient> store_;
  std::int64_t num_beats_ = 0;
  struct Heard {
    std::string beat;
    Instant at = now();
  };
  std::vector<Heard> heard_;  // by process
  std::atomic<bool> is_over_ = false;
  std::thread thread_;  // the last one: it uses the others
};

}  // namespace orrery::executor
