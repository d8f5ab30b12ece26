// SPDX-License-Identifier: Apache-2.0
// Files of named tensors in the safetensors format: eight bytes with the length of a header, the header as JSON
// ({name: {dtype, shape, data_offsets}}, with text under "__metadata__"), then the tensors, little-endian, row-major,
// without gaps. Source: the format's description in huggingface/safetensors. The reader is strict: a file is what its
// header says, to the byte, or it is refused.
#pragma once

#include "base/files.h"
#include "executor/checkpoint/stored_type.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace orrery::executor {

/// A tensor to be written. Requires: `bytes` has the size that type and shape say, and outlives the write.
struct TensorToWrite {
  std::string name;
  StoredType type = StoredType::f32;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;
};

/// Writes a file that exists only when it is complete and on the disk. Requires: names differ.
/// Throws: BackendError, saying what the system said.
void write_safetensors(const std::string& path, const std::map<std::string, std::string>& metadata,
                       std::span<const TensorToWrite> tensors);

/// A file's header, and its tensors one by one.
class SafetensorsFile {
 public:
  struct Tensor {
    StoredType type = StoredType::f32;
    std::vector<std::int64_t> shape;
    std::int64_t begin = 0, bytes = 0;  // in the file

    std::int64_t elements() const { return bytes / size_of(type); }
  };

  /// Throws: ConfigError, when the file cannot be read, is cut off or is not in the format.
  explicit SafetensorsFile(std::string path);
  SafetensorsFile(SafetensorsFile&& other) noexcept;
  SafetensorsFile& operator=(SafetensorsFile&&) = delete;
  ~SafetensorsFile();

  const std::string& path() const { return path_; }
  std::int64_t file_bytes() const { return file_bytes_; }
  const std::map<std::string, Tensor>& tensors() const { return tensors_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

  /// The bytes of a tensor. Throws: ConfigError, when it is missing or the file has become shorter.
  std::vector<std::byte> read(const std::string& name) const;
  /// The first `most` bytes of a tensor, or all. Requires: the tensor is there.
  std::vector<std::byte> read_first(const std::string& name, std::int64_t most) const;
  /// A whole tensor as f32.
  std::vector<float> read_f32(const std::string& name) const;
  /// The elements of a tensor from `first` on, as f32; reads no others. Requires: the tensor is there and has them.
  void read_f32(const std::string& name, std::int64_t first, std::span<float> out) const;

 private:
  void read_header();
  std::vector<std::byte> read_bytes(const std::string& name, const Tensor& tensor, std::int64_t first,
                                    std::int64_t count) const;
  [[noreturn]] void fail(const std::string& message) const;

  std::string path_;
  int descriptor_ = -1;
  std::int64_t file_bytes_ = 0;
  std::map<std::string, Tensor> tensors_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace orrery::executor
