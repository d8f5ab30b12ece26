// SPDX-License-Identifier: Apache-2.0
#include "cli/output_file.h"

#include "base/errors.h"
#include "base/files.h"

#include <filesystem>

#include <fmt/format.h>

namespace orrery::cli {

void require_place_for(const std::string& path) {
  if (path.empty()) return;
  if (std::filesystem::is_directory(path)) throw BackendError(fmt::format("cannot write {}: Is a directory", path));
  const AtomicFile beside(path);  // is made and removed again
}

}  // namespace orrery::cli
