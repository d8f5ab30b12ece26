// SPDX-License-Identifier: Apache-2.0
#include "costmodel/op_times.h"

#include "costmodel/run_in_order.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace orrery::costmodel {

OpTimes run_step(const TimedProgram& timed, bool keep_times) {
  if (rates_are_fixed(timed)) {
    if (std::optional<OpTimes> times = run_in_order(timed, keep_times)) return std::move(*times);
  }
  return run_events(timed, keep_times);
}

void note_start(std::span<const RankOp> members, Seconds now, const TimedProgram& timed, OpTimes& times) {
  const auto is_late = [&](const RankOp& member) { return times.ranks[member.rank].ready[member.op] == now; };
  std::uint32_t last = ~std::uint32_t{0};
  for (const RankOp& member : members) {
    if (is_late(member)) last = std::min(last, member.rank);
  }
  for (const RankOp& member : members) {
    times.ranks[member.rank].start[member.op] = now;
    if (!is_late(member)) times.ranks[member.rank].last_peer[member.op] = timed.ranks[last].view.rank.value();
  }
}

}  // namespace orrery::costmodel
