// SPDX-License-Identifier: Apache-2.0
#include "executor/runtime/scratch_folder.h"

#include "base/errors.h"

#include <cstdlib>
#include <cstring>
#include <string>
#include <system_error>

namespace orrery::executor {

ScratchFolder::ScratchFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "orrery-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) throw BackendError("cannot make " + name + ": " + std::strerror(errno));
  path_ = name;
}

ScratchFolder::~ScratchFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace orrery::executor
