// SPDX-License-Identifier: Apache-2.0
// The makers behind slots_of (program/schedule.h), one file for each form of order. `rank` is a pipeline rank,
// 0..num_ranks-1, and the shape is one for which order_problem finds none.
#pragma once

#include "program/schedule.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace orrery::schedules {

/// All forwards, then all backwards, both from micro-batch 0. Huang et al., GPipe (arXiv 1811.06965), figure 2c.
std::vector<Slot> gpipe(const PipelineShape& shape, std::int64_t rank);

/// p - 1 - rank forwards of warm-up, then one forward and one backward in turn, then the remaining backwards.
/// Narayanan et al. (arXiv 2104.04473), section 2.2.1.
std::vector<Slot> one_f_one_b(const PipelineShape& shape, std::int64_t rank);

/// 1F1B over a table of (chunk, micro-batch): groups of micro-batches pass chunk after chunk. Chunk c of a rank is
/// stage c p + rank. Narayanan et al. (arXiv 2104.04473), section 2.2.2; groups of other sizes than p: Megatron-LM,
/// get_schedule_table.
std::vector<Slot> interleaved(const PipelineShape& shape, std::int64_t rank);

/// Why these groups are refused; nothing if they are not. The rule is Megatron-LM's: each group and the tail of m have
/// a micro-batch for every rank. Without it some tables deadlock.
std::optional<std::string> interleaved_problem(const PipelineShape& shape);

/// 1F1B whose weight gradients lag `rank` micro-batches behind the input gradients, in the memory of 1F1B's first
/// rank. Qi et al., Zero Bubble Pipeline Parallelism (arXiv 2401.10241), section 2.
std::vector<Slot> zb_h1(const PipelineShape& shape, std::int64_t rank);

/// The same with twice the warm-up and twice the lag. When all slots take equally long no rank waits between its
/// first slot and its last. Section 2 of the same paper.
std::vector<Slot> zb_h2(const PipelineShape& shape, std::int64_t rank);

/// Stages rank and 2p - 1 - rank on a rank, so that the first rank is also the last and starts its backwards early.
/// Section 6 of the same paper; the phases are those of PyTorch's ScheduleZBVZeroBubble.
std::vector<Slot> zbv(const PipelineShape& shape, std::int64_t rank);

/// Half of the micro-batches enter at each end, and forwards of one direction overlap backwards of the other. Rank
/// holds stage rank of the first half (micro-batches 0..m/2-1) and stage p - 1 - rank of the second.
/// DeepSeek-V3 technical report (arXiv 2412.19437), section 3.2.1; the steps are those of deepseek-ai/DualPipe.
std::vector<Slot> dualpipe(const PipelineShape& shape, std::int64_t rank);

/// DualPipe cut in the middle and folded: one direction, on stages rank and 2p - 1 - rank. deepseek-ai/DualPipe,
/// after Sea AI Lab's "cut-in-half".
std::vector<Slot> dualpipev(const PipelineShape& shape, std::int64_t rank);

}  // namespace orrery::schedules
