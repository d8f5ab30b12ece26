// SPDX-License-Identifier: Apache-2.0
// The half of orrery validate that is about memory.
#pragma once

#include "cli/report.h"
#include "costmodel/validation/memory_score.h"

#include <string>
#include <vector>

namespace orrery::cli {

/// `cross_validate` also judges each width by the fragmentation of the others.
Report memory_report(const costmodel::MemoryScore& score, bool cross_validate);

/// For --memory-intervals-out: memory_intervals/1. Throws: ConfigError if no figure was predicted.
std::string memory_intervals_file(const costmodel::MemoryScore& score);

/// For --runs-out: each figure with its prediction, then each run that is not modelled; a JSON line each.
std::string memory_lines(const costmodel::MemoryScore& score);

/// A JSON line for each run that has no prediction of this part ("memory", "time").
std::string not_modelled_lines(const char* part, const std::string& reason, const std::vector<std::string>& ids);

}  // namespace orrery::cli
