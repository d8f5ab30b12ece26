// SPDX-License-Identifier: Apache-2.0
// orrery plan --sweep: many searches, and what they say together.
#pragma once

#include "cli/inputs.h"
#include "program/strategy.h"

#include <optional>
#include <string>

namespace orrery::cli {

struct SweepOptions {
  InputOptions inputs;
  std::string sweep, out;         // sweep/1; results as JSON Lines
  std::string calibration, load;  // as for one search
  std::string framework;          // the same
  std::optional<DType> precision;
  std::optional<Seconds> deadline;  // of a step
  bool json = false;
};

/// Searches every point that the results do not have, as far as this process has a share in it, and prints all that
/// there are. A point with bad input is refused, with a line that says why; bad input only if all are. Results of a
/// point that is not of this sweep stay and are not shown. Throws: ConfigError: a bad file.
int sweep_plans(const SweepOptions& options);

}  // namespace orrery::cli
