// SPDX-License-Identifier: Apache-2.0
// Programs of random ops, for properties that hold whatever the order.
#pragma once

#include "base/rng.h"
#include "tests/conformance/programs.h"

#include <cstdint>
#include <vector>

namespace orrery::testing {

/// Random numbers one after the other.
struct Draws {
  CounterRng rng;
  std::uint64_t num_drawn = 0;
  std::uint64_t below(std::uint64_t n) { return rng.below(num_drawn++, n); }
};

/// A program of random ops in which a rank has one communication at a time, so that no link is shared; compute runs
/// beside it.
inline ProgramBuilder random_program(Draws& draws, std::int64_t num_stages, std::int64_t ranks_per_stage, int num_ops) {
  ProgramBuilder builder(num_stages, ranks_per_stage);
  std::vector<std::vector<OpIndex>> last_comm(static_cast<std::size_t>(num_stages));
  std::vector<std::vector<OpIndex>> last_compute = last_comm;
  const auto stage_index = [&](std::int64_t stage) { return static_cast<std::size_t>(stage); };
  const auto inputs = [&](std::int64_t stage) {
    std::vector<OpIndex> deps = last_comm[stage_index(stage)];
    if (draws.below(2) == 0) {
      const auto& compute = last_compute[stage_index(stage)];
      deps.insert(deps.end(), compute.begin(), compute.end());
    }
    return deps;
  };
  for (int i = 0; i < num_ops; ++i) {
    const auto stage = static_cast<std::int64_t>(draws.below(static_cast<std::uint64_t>(num_stages)));
    const auto size =
        static_cast<std::int64_t>(24 * (1 + draws.below(40000)));  // wire bytes are whole for up to 8 ranks
    switch (draws.below(8)) {
      case 0:
        for (std::int64_t each = 0; each < num_stages; ++each) {
          last_comm[stage_index(each)] = {builder.all_reduce(each, Queue::world, Group::world, size, inputs(each))};
        }
        break;
      case 1:
        last_comm[stage_index(stage)] = {builder.all_reduce(stage, Queue::dp, Group::dp, size, inputs(stage))};
        break;
      case 2:
        if (stage + 1 < num_stages) {
          last_comm[stage_index(stage)] = {builder.send_next(stage, size, inputs(stage))};
          last_comm[stage_index(stage + 1)] = {builder.recv_prev(stage + 1, size, inputs(stage + 1))};
        }
        break;
      default:
        const auto nanoseconds = static_cast<double>(1 + draws.below(30000));
        last_compute[stage_index(stage)] = {
            builder.compute(stage, nanoseconds * unit::nanosecond,
                            draws.below(3) == 0 ? last_comm[stage_index(stage)] : std::vector<OpIndex>{})};
    }
  }
  return builder;
}

}  // namespace orrery::testing
