// SPDX-License-Identifier: Apache-2.0
// Numbers of ranks or nodes as people write them: "3,8-15".
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace orrery::cli {

/// In the order of the text. `what` names them and where they come from in messages: "--on: nodes".
/// Throws: ConfigError if the text is no such list, a number is not below `end`, or one stands twice.
std::vector<std::int64_t> number_list(std::string_view text, std::int64_t end, std::string_view what);

}  // namespace orrery::cli
