// SPDX-License-Identifier: Apache-2.0
// Memory over time, for people who want to see where it goes: one line of text for each op of one rank of each pipeline
// rank, in the order in which its host enqueues them.
#pragma once

#include "program/plan.h"

#include <string>

namespace orrery::cli {

/// Writes "pipeline_rank,op,tensor_bytes,total_bytes" with a header line to `path`. `tensor_bytes` are the tensors that
/// are alive while the op runs, under the plan's load on the first rank of the stage; the total adds weights, gradients
/// and optimizer states. Throws: BackendError if the file cannot be written.
void write_memory_timeline(const std::string& path, const Plan& plan);

}  // namespace orrery::cli
