// SPDX-License-Identifier: Apache-2.0
// A loop over independent pieces of work on all cores. Not a thread pool: threads live as long as the loop.
#pragma once

#include <cstdint>
#include <functional>

namespace orrery {

/// Threads that a loop uses: what the environment says in ORRERY_THREADS, else one for each core. The same for the
/// whole run of a program. Throws: ConfigError if the former is no number of threads.
int num_workers();

/// Calls `work(i, worker)` once for each 0 <= i < n, from several threads in no particular order; calls with the same
/// 0 <= worker < num_workers() are never made at the same time, so that each worker can have a cache of its own.
/// Throws: what the call with the lowest i threw, after all threads have stopped.
void parallel_for(std::int64_t n, const std::function<void(std::int64_t, int)>& work);

}  // namespace orrery
