// SPDX-License-Identifier: Apache-2.0
// The processes of a test that mpirun has started. All of them run the same tests in the same order.
#pragma once

namespace orrery::executor::testing {

/// Of this process, of all that mpirun has started.
int own_rank();
int num_processes();

/// Returns when all processes have called it.
void meet();

}  // namespace orrery::executor::testing
