// SPDX-License-Identifier: Apache-2.0
// What the process tells its caller: 0 fine, 1 our bug, 2 bad input, 3 nothing that was asked for is possible,
// 4 the system or a peer failed; 130 after Ctrl-C, as shells expect it.
#pragma once

namespace orrery::cli {

inline constexpr int kSuccess = 0;
inline constexpr int kInternal = 1;
inline constexpr int kBadInput = 2;
inline constexpr int kInfeasible = 3;
inline constexpr int kBackend = 4;
inline constexpr int kInterrupted = 130;

/// Prints the exception that is being handled on stderr and returns its exit code. Call it in a catch block.
int report_exception() noexcept;

/// From now on Ctrl-C ends the process at once with kInterrupted. Files are written under temporary names in one go,
/// so that none is left half-written; ranks and workers die with this process.
void exit_on_interrupt();

}  // namespace orrery::cli
