// SPDX-License-Identifier: Apache-2.0
// The makers behind slots_of (program/schedule.h), one file each. `rank` is a pipeline rank, 0..num_ranks-1.
#pragma once

#include "program/schedule.h"

#include <cstdint>
#include <vector>

namespace orrery::schedules {

/// All forwards, then all backwards, both from micro-batch 0. Huang et al., GPipe (arXiv 1811.06965), figure 2c.
std::vector<Slot> gpipe(const PipelineShape& shape, std::int64_t rank);

/// p - 1 - rank forwards of warm-up, then one forward and one backward in turn, then the remaining backwards.
/// Narayanan et al. (arXiv 2104.04473), section 2.2.1.
std::vector<Slot> one_f_one_b(const PipelineShape& shape, std::int64_t rank);

}  // namespace orrery::schedules
