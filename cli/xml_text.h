// SPDX-License-Identifier: Apache-2.0
// Text inside SVG.
#pragma once

#include <string>
#include <string_view>

namespace orrery::cli {

/// `text` with the characters that mean something in XML written out.
std::string xml_escaped(std::string_view text);

}  // namespace orrery::cli
