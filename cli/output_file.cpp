// SPDX-License-Identifier: Apache-2.0
#include "cli/output_file.h"

#include "base/errors.h"

#include <cerrno>
#include <filesystem>
#include <system_error>

#include <fmt/format.h>
#include <unistd.h>

namespace orrery::cli {

void require_place_for(const std::string& path) {
  if (path.empty()) return;
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  if (::access(folder.empty() ? "." : (folder / "").c_str(), W_OK) == 0) return;
  throw BackendError(fmt::format("cannot write {}: {}", path, std::system_category().message(errno)));
}

}  // namespace orrery::cli
