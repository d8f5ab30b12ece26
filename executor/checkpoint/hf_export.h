// SPDX-License-Identifier: Apache-2.0
// A checkpoint as a folder that Hugging Face Transformers reads: config.json, and its weights, without moments.
#pragma once

#include "executor/checkpoint/checkpoint.h"
#include "executor/checkpoint/stored_type.h"
#include "program/hf_tensors.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace orrery::executor {

struct HfExport {
  StoredType type = StoredType::bf16;
  /// A file ends before it would get larger, unless one tensor is. Source: max_shard_size of save_pretrained in
  /// Transformers 4.
  std::int64_t most_file_bytes = 5'000'000'000;
};

/// What was written.
struct ExportedFolder {
  std::int64_t num_tensors = 0, bytes = 0;  // of tensors
  std::vector<std::string> files;
};

/// Writes the `weights` of a checkpoint into `folder`, which is made. A file is put together in memory. `config`: the
/// text of the model's config.json, whose type of elements is replaced, and which loses "quantization_config".
/// Requires: the checkpoint has the weights. Throws: ConfigError, when the folder has files, or a value does not fit
/// the type; BackendError, when it cannot be written.
ExportedFolder export_hf(const CheckpointReader& checkpoint, const HfTensors& names,
                         const std::vector<Parameter>& weights, const std::string& config, const HfExport& how,
                         const std::filesystem::path& folder);

}  // namespace orrery::executor
