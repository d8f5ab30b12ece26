// SPDX-License-Identifier: Apache-2.0
// Whole files in and out. Output appears under its name only when it is complete: it is written beside it under a
// temporary name and renamed, so a full disk or a crash leaves the old file or none, never half of a new one.
#pragma once

#include <string>
#include <string_view>

namespace orrery {

/// The bytes of a file. Throws: ConfigError if it cannot be read.
std::string read_file(const std::string& path);

/// Replaces or creates `path` with `text`. Throws: BackendError, saying what the system said.
void write_file_atomically(const std::string& path, std::string_view text);

/// Brings the names in a folder to the disk, so that they survive a crash of the machine. Throws: BackendError.
void sync_folder(const std::string& path);

/// A file written piece by piece that exists only after `commit`.
class AtomicFile {
 public:
  /// Throws: BackendError if the folder does not exist or cannot be written.
  explicit AtomicFile(std::string path);
  /// Without `commit`: removes what was written.
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// Throws: BackendError, for example "cannot write plan.json: No space left on device".
  void append(std::string_view text);

  /// Whether a file survives a crash of the machine, or only one of this process.
  enum class Durability { in_cache, on_disk };
  /// Flushes and gives the file its name. Call once, last. Throws: BackendError.
  void commit(Durability durability = Durability::in_cache);

 private:
  void flush();
  [[noreturn]] void fail() const;

  std::string path_;
  std::string temporary_path_;
  std::string buffer_;
  int descriptor_ = -1;
};

}  // namespace orrery
