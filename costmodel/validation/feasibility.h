// SPDX-License-Identifier: Apache-2.0
// Whether runs were rightly said to fit. A run is said to fail when allocated memory, times one plus the allocator's
// fragmentation, plus what the process reserves, is above the memory of its device; counted against what happened, with
// a preset's fragmentation or any other.
#pragma once

#include "base/units.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace orrery::costmodel {

/// What decides whether a published run fits, and whether it ran.
struct JudgedRun {
  std::string id, framework;
  std::int64_t hidden = 0;
  bool out_of_memory = false;           // what happened
  Bytes allocated;                      // predicted, of the fullest pipeline rank
  std::optional<Bytes> if_recomputing;  // the same if all is recomputed; where a run's source does not say
  double fragmentation = 0.0;           // the preset's
  Bytes reserve, device_memory;
  std::optional<double> over_allocated;  // measured reserved over predicted allocated memory, of the same rank

  /// Whether it is said to fit; the second, with everything recomputed.
  bool fits(double with_fragmentation) const;
  bool fits_if_recomputing(double with_fragmentation) const;
};

/// Runs of one framework and one model width: how many ran, how many ran out of memory, and what was said of them.
struct Feasibility {
  std::string framework;
  std::int64_t hidden = 0;  // 0: all of the framework
  std::size_t num_ran = 0, num_failed = 0;
  std::size_t num_failed_as_said = 0;
  std::size_t num_ran_unlike_said = 0;       // said not to fit
  std::size_t num_ran_if_recomputing = 0;    // fit only if they recompute, and their source does not say
  std::vector<std::string> ran_unlike_said;  // ids
  std::vector<std::string> failed_unlike_said;

  /// Counts one more run.
  void count(const JudgedRun& run, double with_fragmentation);

  /// Of the runs that were said to fail, those that did; nothing if none was.
  std::optional<double> precision() const;
  /// Of the runs that failed, those that were said to; nothing if none did.
  std::optional<double> recall() const;
};

/// With each run's own preset: by framework, then all of it before each of its widths.
std::vector<Feasibility> feasibility_of(const std::vector<JudgedRun>& runs);

}  // namespace orrery::costmodel
