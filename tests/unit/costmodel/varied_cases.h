// SPDX-License-Identifier: Apache-2.0
// The random cases of program/random_strategies.h with more kinds of models and as few micro-batches as the schedule
// allows, so that thousands of programs can be lowered in a test.
#pragma once

#include "program/mesh.h"
#include "tests/unit/program/random_strategies.h"

#include <cstdint>
#include <variant>

namespace orrery::testing {

inline bool is_legal(const RandomCase& c) { return violations(c.model, c.strategy, c.batch, c.num_devices).empty(); }

/// Feed-forwards without gate, queries without latent, chunked windows: whatever is still legal.
inline void vary_model(RandomCase& c, std::uint64_t index) {
  RandomCase varied = c;
  varied.model.gated = index % 3 != 0;
  auto* latent = std::get_if<MultiHeadLatentAttention>(&varied.model.attention);
  if (latent && index % 2 == 0) latent->q_lora_rank = 0;
  if (!varied.model.spans.empty() && index % 2 == 0) varied.model.spans.back().chunked = true;
  if (is_legal(varied)) c = varied;
}

/// Calls `use(case, index)` for `count` cases; of every eighth the micro-batches are those that were drawn.
template <class Use>
void for_varied_cases(std::int64_t count, Use use) {
  for_random_cases(count, [&](RandomCase c, std::uint64_t index) {
    vary_model(c, index);
    const Mesh mesh(c.strategy, c.num_devices);
    RandomCase fewer = c;
    for (std::int64_t m = 1; index % 8 != 0 && m <= 8; m *= 2) {
      fewer.batch.global_batch = m * mesh.dp() * c.strategy.micro_batch;
      if (fewer.batch.global_batch <= c.batch.global_batch && is_legal(fewer)) break;
      fewer.batch = c.batch;
    }
    use(fewer, index);
  });
}

}  // namespace orrery::testing
