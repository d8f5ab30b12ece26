// SPDX-License-Identifier: Apache-2.0
#include "cli/memory_timeline_file.h"

#include "base/files.h"
#include "cli/prediction.h"
#include "program/arrivals.h"
#include "program/memory_replay.h"

#include <cmath>
#include <vector>

#include <fmt/format.h>

namespace orrery::cli {

void write_memory_timeline(const std::string& path, const Plan& plan) {
  const StepProgram program = lower(plan);
  const std::vector<costmodel::MemoryByCause> ranks = memory_of(plan);
  std::string text = "pipeline_rank,op,tensor_bytes,total_bytes\n";
  for (std::size_t r = 0; r < program.classes.size(); ++r) {
    const RankClass& rank_class = program.classes[r];
    const RankId first(static_cast<std::int32_t>(static_cast<std::int64_t>(r) * program.mesh.ranks_per_stage()));
    const Arrivals arrivals =
        is_balanced(plan.load) ? Arrivals::balanced() : arrivals_of(program, {&first, 1}, plan.load).front();
    const double states = ranks[r].states().in(unit::byte);
    for (const MemorySample& sample : memory_timeline(rank_class, arrivals)) {
      const double live = sample.live.in(unit::byte);
      text += fmt::format("{},{},{},{}\n", r, to_string(rank_class.ops[sample.op].key), std::llround(live),
                          std::llround(live + states));
    }
  }
  write_file_atomically(path, text);
}

}  // namespace orrery::cli
