// SPDX-License-Identifier: Apache-2.0
// A file that a launching process hands to its ranks. It has no name on any disk: its path leads to a descriptor of
// this process, so it is gone with the process, however that ends.
#pragma once

#include "executor/comm/descriptor.h"

#include <string>
#include <string_view>

namespace orrery::executor {

class MemoryFile {
 public:
  /// Throws: BackendError, when the system gives no memory.
  explicit MemoryFile(std::string_view text);

  /// Where this process and processes of the same user can read it while the object lives.
  std::string path() const;

 private:
  Descriptor descriptor_;
};

}  // namespace orrery::executor
