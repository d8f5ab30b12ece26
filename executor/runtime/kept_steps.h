// SPDX-License-Identifier: Apache-2.0
// Which steps of a run leave something in its trace. Who writes the trace to a file wants every op of every step. Who
// prints a report wants times and losses to take medians of, and the ops of some steps: such a run keeps no more of a
// million steps than of a thousand.
#pragma once

#include <cstdint>

namespace orrery::executor {

struct KeptSteps {
  std::int64_t record_every = 1;  ///< step records, and samples of power: of each step whose number this divides
  std::int64_t num_with_ops = 0;  ///< spans and loads: of the last so many

  /// All of a run of `num_steps` steps.
  static KeptSteps all(std::int64_t num_steps) { return {.record_every = 1, .num_with_ops = num_steps}; }

  /// What a report needs of such a run: about a thousand records, the ops of ten steps.
  static KeptSteps for_report(std::int64_t num_steps) {
    constexpr std::int64_t kMostRecords = 1000, kStepsWithOps = 10;
    return {.record_every = (num_steps + kMostRecords - 1) / kMostRecords, .num_with_ops = kStepsWithOps};
  }

  bool has_ops(std::int64_t step, std::int64_t num_steps) const { return step >= num_steps - num_with_ops; }
  /// The first and the last step, and those with ops, are always among them.
  bool has_record(std::int64_t step, std::int64_t first_step, std::int64_t num_steps) const {
    return step == first_step || step % record_every == 0 || step + 1 == num_steps || has_ops(step, num_steps);
  }
  bool operator==(const KeptSteps&) const = default;
};

}  // namespace orrery::executor
