// SPDX-License-Identifier: Apache-2.0
// The formulas and the program's own tensors know nothing of each other: two readers of docs/design/ops.md. Here they
// are compared on every pipeline rank, to the byte.
#include "costmodel/memory.h"
#include "program/arrivals.h"
#include "program/lower.h"
#include "program/memory_replay.h"
#include "tests/unit/program/random_strategies.h"

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

constexpr MemoryModel kExact{.rho = 1.0, .fragmentation = 0.0, .reserve = {}};

void expect_equal(const testing::RandomCase& c, std::uint64_t index, const MemoryModel& parameters,
                  const Arrivals& arrivals) {
  const StepProgram program = lower(c.model, c.strategy, c.batch, c.num_devices);
  const auto ranks = memory_per_stage(c.model, c.strategy, c.batch, program.mesh, parameters);
  ASSERT_EQ(ranks.size(), program.classes.size());
  for (std::size_t r = 0; r < ranks.size(); ++r) {
    ASSERT_EQ(ranks[r].activations + ranks[r].transients, replay_memory(program.classes[r], arrivals).bytes)
        << "case " << index << ", rank " << r << ", schedule " << name_of(c.strategy.schedule);
  }
}

TEST(MemoryEquality, HoldsForRandomStrategiesOverEveryDimension) {
  testing::for_random_cases(3000, [](const testing::RandomCase& c, std::uint64_t index) {
    expect_equal(c, index, kExact, Arrivals::balanced());
  });
}

/// What the random strategies leave out: many micro-batches, more chunks than needed, ends without layers, prediction
/// modules on another stage than the head, feed-forwards without a gate.
testing::RandomCase made_rarer(testing::RandomCase c, std::uint64_t index) {
  const CounterRng rng(2027, index);
  Strategy& s = c.strategy;
  const bool has_modules = s.mtp == Mtp::on;
  if (rng.below(0, 2) == 0) c.batch.global_batch *= 1 + static_cast<std::int64_t>(rng.below(1, 8));
  if (s.schedule == Schedule::interleaved && rng.below(2, 2) == 0) s.vpp = 3;
  if (rng.below(3, 3) == 0) c.model.gated = false;
  if (rng.below(4, 3) == 0) c.model.learned_positions = true;
  c.model.max_positions = 64;
  if (s.num_stages() > c.model.num_layers()) s.vpp = c.strategy.num_stages() / s.pp;
  if (static_cast<std::int64_t>(s.stages.size()) != s.num_stages()) {
    c.model.layers.resize(static_cast<std::size_t>(std::max(s.num_stages(), c.model.num_layers())), LayerKind::dense);
    if (!c.model.spans.empty()) c.model.spans.resize(c.model.layers.size());
    s.stages = even_stages(c.model.num_layers(), s.num_stages());
    if (has_modules) s.stages = with_mtp(std::move(s.stages), 1);
  }
  if (s.num_stages() > 1 && rng.below(5, 2) == 0) {
    // The head alone, and the modules before it or with it.
    StageLayout &last = s.stages.back(), &before = s.stages[s.stages.size() - 2];
    before.num_layers += last.num_layers;
    last.first_layer += last.num_layers;
    last.num_layers = 0;
    last.num_recompute_layers = before.num_recompute_layers = {};
    if (has_modules && rng.below(6, 2) == 0) std::swap(last.num_mtp, before.num_mtp);
  }
  return c;
}

TEST(MemoryEquality, HoldsForRarerStrategies) {
  int num_compared = 0, num_modules_apart = 0, num_long = 0;
  testing::for_random_cases(1500, [&](const testing::RandomCase& drawn, std::uint64_t index) {
    const testing::RandomCase c = made_rarer(drawn, index);
    if (!violations(c.model, c.strategy, c.batch, c.num_devices).empty()) return;
    ++num_compared;
    if (c.strategy.stages.back().num_mtp == 0 && c.strategy.mtp == Mtp::on) ++num_modules_apart;
    const std::int64_t pipelines = Mesh(c.strategy, c.num_devices).dp() * c.strategy.micro_batch;
    if (c.batch.global_batch / pipelines > 6 * c.strategy.pp) ++num_long;
    expect_equal(c, index, kExact, Arrivals::balanced());
  });
  EXPECT_GT(num_compared, 1000);
  EXPECT_GT(num_modules_apart, 15);
  EXPECT_GT(num_long, 150);
}

// Rows that arrive are unequal: halves and quarters, so that sums of bytes stay exact in any order.
TEST(MemoryEquality, HoldsForRowsThatAreNotBalanced) {
  testing::for_random_cases(1000, [](const testing::RandomCase& c, std::uint64_t index) {
    if (!c.model.moe) return;
    const auto balanced = static_cast<double>(pairs_per_rank(c.model, c.strategy, c.batch));
    MemoryModel parameters = kExact;
    parameters.rho = 1.5;
    parameters.rho_gathered = 1.25;
    const Arrivals arrivals =
        Arrivals::same_everywhere({.received = 1.5 * balanced,
                                   .gathered = 1.25 * balanced * static_cast<double>(c.strategy.etp),
                                   .distinct_share = 1.0});
    expect_equal(c, index, parameters, arrivals);
  });
}

}  // namespace
}  // namespace orrery::costmodel
