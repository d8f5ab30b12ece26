// SPDX-License-Identifier: Apache-2.0
// A process that finds out before the job has met that it cannot take part, as with a corpus that is missing on its
// host. It says so at the store, and process 0 ends with its reason instead of waiting for it.
#pragma once

#include "executor/bootstrap/job_place.h"

#include <chrono>
#include <string>
#include <string_view>

namespace orrery::executor {

/// Requires: `place` is not that of process 0. Throws: BackendError, ConfigError, when the store cannot be told within
/// `time_out`.
void refuse_job(const JobPlace& place, const std::string& token, std::string_view why,
                std::chrono::nanoseconds time_out);

}  // namespace orrery::executor
