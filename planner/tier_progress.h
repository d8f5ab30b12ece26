// SPDX-License-Identifier: Apache-2.0
// What a search tells its caller while one of its tiers is at work.
#pragma once

#include "planner/search.h"

#include <functional>
#include <mutex>

namespace orrery::planner {

using ProgressReport = std::function<void(const Progress&)>;

/// Counts finished pieces of a tier and tells the caller about them.
class TierProgress {
 public:
  /// `before`: what is known when the tier begins.
  TierProgress(const ProgressReport& report, const Progress& before) : report_(report), progress_(before) {}

  void add_one() {
    const std::lock_guard lock(mutex_);
    ++progress_.done;
    if (report_) report_(progress_);
  }

 private:
  const ProgressReport& report_;
  std::mutex mutex_;
  Progress progress_;
};

}  // namespace orrery::planner
