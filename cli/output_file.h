// SPDX-License-Identifier: Apache-2.0
// Files that a verb writes at its end: whether they will have a place is known before it begins.
#pragma once

#include <string>

namespace orrery::cli {

/// Throws: BackendError, as writing would, if `path` is a folder, or lies in one that does not exist or takes no files.
/// What is there stays. No path, no demand.
void require_place_for(const std::string& path);

}  // namespace orrery::cli
