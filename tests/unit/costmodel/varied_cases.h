// SPDX-License-Identifier: Apache-2.0
// The random cases of program/random_strategies.h with more kinds of models and as few micro-batches as the schedule
// allows, so that thousands of programs can be lowered in a test.
#pragma once

#include "program/mesh.h"
#include "tests/unit/program/random_strategies.h"

#include <cstddef>
#include <cstdint>
#include <utility>
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

/// Pipelines of up to 16 ranks, up to 4 chunks on each where the order is interleaved, scales by blocks, CUDA graphs:
/// of each what is still legal.
inline RandomCase widened(RandomCase c, std::uint64_t index) {
  const CounterRng rng(2027, index);
  std::uint64_t next = 0;
  const auto keep_if_legal = [&](const RandomCase& wide) {
    if (is_legal(wide)) c = wide;
  };
  RandomCase wide = c;
  Strategy& s = wide.strategy;
  const std::int64_t factor = std::int64_t{1} << rng.below(next++, 3);
  wide.num_devices *= factor;
  s.pp *= factor;
  wide.batch.global_batch *= factor;  // orders of more ranks need more micro-batches
  if (s.schedule == Schedule::interleaved) s.vpp += static_cast<std::int64_t>(rng.below(next++, 3));
  while (wide.model.num_layers() < s.num_stages()) {
    wide.model.layers.push_back(wide.model.layers.back());
    if (!wide.model.spans.empty()) wide.model.spans.push_back(wide.model.spans.back());
  }
  if (s.num_stages() != c.strategy.num_stages()) {
    s.stages = even_stages(wide.model.num_layers(), s.num_stages());
    if (s.mtp == Mtp::on) s.stages = with_mtp(std::move(s.stages), 1);
    for (std::size_t i = 0; i < s.stages.size(); ++i) {
      s.stages[i].recompute = c.strategy.stages[i % c.strategy.stages.size()].recompute;
    }
  }
  keep_if_legal(wide);
  wide = c;
  wide.strategy.fp8_recipe = Fp8Recipe::blockwise;
  if (rng.below(next++, 2) == 0) keep_if_legal(wide);
  wide = c;
  wide.strategy.cuda_graphs = true;
  if (rng.below(next++, 3) == 0) keep_if_legal(wide);
  return c;
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
