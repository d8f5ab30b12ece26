// SPDX-License-Identifier: Apache-2.0
// Which experts the tokens of a step chose, on disk: routing/1, docs/formats/routing.md. It knows tokens and no ranks,
// so that a run of any layout can take the choices of another.
#pragma once

#include "program/step_program.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace orrery::executor {

/// By layer (prediction modules count on), the experts of each token, best first: (sequences of a step, seq, top_k).
using Choices = std::map<std::int64_t, std::vector<std::int32_t>>;

/// The layers of a program that have a router.
std::vector<std::int64_t> routed_layers(const StepProgram& program);

/// `folder`/step_00000012.safetensors
std::filesystem::path routing_of_step(const std::filesystem::path& folder, std::int64_t step);

/// Makes room for the files of a run. Throws: ConfigError, when the model has no routers; BackendError.
void start_routing(const std::filesystem::path& folder, const StepProgram& program);

/// Throws: BackendError.
void write_routing(const std::filesystem::path& file, const StepProgram& program, const Choices& choices);

/// Looks at the headers of the files of steps [first, end): each is there, and of a run on `program`'s model and batch.
/// Throws: ConfigError with all problems.
void check_routing(const std::filesystem::path& folder, const StepProgram& program, std::int64_t first,
                   std::int64_t end);

/// A hash of the files of steps [first, end), which is the same wherever the folder is. Throws: ConfigError.
std::string hash_of_routing(const std::filesystem::path& folder, std::int64_t first, std::int64_t end);

/// Throws: ConfigError, also for an expert that the model lacks, or that a token has twice.
Choices read_routing(const std::filesystem::path& file, const StepProgram& program);

}  // namespace orrery::executor
