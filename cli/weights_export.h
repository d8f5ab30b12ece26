// SPDX-License-Identifier: Apache-2.0
// The target "huggingface" of `export`: not a plan in the words of a trainer, but what training it has left.
#pragma once

#include "executor/checkpoint/stored_type.h"

#include <string>

namespace CLI {
class App;
}

namespace orrery::cli {

inline constexpr const char* kHuggingFace = "huggingface";

struct WeightsExport {
  std::string checkpoint;  // folder of checkpoints
  executor::StoredType type = executor::StoredType::bf16;
};

/// --checkpoint, --type.
void add_weights_export_options(CLI::App& command, WeightsExport& options);

/// Writes the weights of the last complete checkpoint as a Hugging Face folder, and says what was written.
/// Throws: ConfigError, BackendError.
void export_weights(const std::string& plan, const WeightsExport& options, const std::string& out, bool json);

}  // namespace orrery::cli
