// SPDX-License-Identifier: Apache-2.0
// Names that stand in calibration/1.
#pragma once

#include "base/enum_names.h"
#include "costmodel/kernel_model.h"
#include "program/op_key.h"

#include <array>
#include <string_view>

namespace orrery::costmodel {

/// Passes that are measured; a recomputed forward is a forward.
inline constexpr Named<Pass> kMeasuredPasses[] = {
    {"fwd", Pass::fwd}, {"igrad", Pass::igrad}, {"wgrad", Pass::wgrad}, {"sync", Pass::sync}, {"update", Pass::update}};

inline constexpr Named<AttentionKernels> kAttentionNames[] = {{"fused", AttentionKernels::fused},
                                                              {"flash_2", AttentionKernels::flash_2},
                                                              {"materialized", AttentionKernels::materialized}};

/// Path classes, in the order of PathClass.
inline constexpr std::array<std::string_view, 3> kPathNames = {"node", "rail", "spine"};

}  // namespace orrery::costmodel
