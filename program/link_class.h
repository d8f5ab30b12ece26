// SPDX-License-Identifier: Apache-2.0
// The links of a training cluster that communications compete for, by kind. topology/link_graph.h knows more kinds, for
// pictures and routes; faults and simulated flows know these.
#pragma once

#include "base/enum_names.h"

#include <cstddef>
#include <cstdint>
#include <iterator>

namespace orrery {

enum class LinkClass : std::uint8_t { scale_up, nic, uplink };

/// In files.
inline constexpr Named<LinkClass> kLinkClassNames[] = {
    {"scale_up", LinkClass::scale_up}, {"nic", LinkClass::nic}, {"uplink", LinkClass::uplink}};
inline constexpr std::size_t kNumLinkClasses = std::size(kLinkClassNames);

/// For people.
inline constexpr Named<LinkClass> kLinkClassLabels[] = {
    {"scale-up", LinkClass::scale_up}, {"NIC", LinkClass::nic}, {"uplink", LinkClass::uplink}};

}  // namespace orrery
