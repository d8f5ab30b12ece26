// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "program/sequence_model.h"

#include <filesystem>
#include <string>

// The file form of a SequenceModel, sequence/1 (docs/formats/sequence.md). A plan holds the same object in its
// workload; that reader and writer are in program/json_parts.h.

namespace orrery {

/// Throws: ConfigError with all problems of the file.
SequenceModel read_sequences(const std::filesystem::path& path);
SequenceModel read_sequences_text(const std::string& text, const std::string& file);

/// Deterministic text: equal models give equal bytes.
std::string to_json(const SequenceModel& model);

}  // namespace orrery
