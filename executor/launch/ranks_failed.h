// SPDX-License-Identifier: Apache-2.0
// What `launch` throws when its ranks could not go on: beside who, where and how, which ranks of this host nobody can
// count on any more. That tells a run that has lost some of its devices from one that goes wrong on any.
#pragma once

#include "base/errors.h"
#include "executor/comm/clock.h"
#include "executor/comm/shm_segment.h"

#include <utility>
#include <vector>

namespace orrery::executor {

/// When it happened, as the launcher saw it.
struct FailureTimes {
  Instant last_sign;  ///< the lost rank began its last op; of several the first one; without `watch`: as noticed
  Instant noticed;    ///< the launcher knew that something had failed
  Instant ended;      ///< no rank was left
};

class RanksFailed : public BackendError {
 public:
  RanksFailed(const SegmentFailure& failure, std::vector<int> lost, const FailureTimes& times)
      : BackendError(failure.rank, failure.key, failure.text), lost_(std::move(lost)), times_(times) {}

  /// Ranks that died without a word, or did not answer until they were killed. Empty: the rank that failed said why
  /// itself, and its device may be as good as any.
  const std::vector<int>& lost() const { return lost_; }
  const FailureTimes& times() const { return times_; }

 private:
  std::vector<int> lost_;
  FailureTimes times_;
};

}  // namespace orrery::executor
