// SPDX-License-Identifier: Apache-2.0
#include "costmodel/memory.h"
#include "program/lower.h"
#include "program/strategy.h"
#include "tests/unit/program/random_strategies.h"

#include <algorithm>

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

constexpr MemoryModel kExact{.rho = 1.0, .fragmentation = 0.0, .reserve = {}};

double bytes_in(const Tensor& tensor) {
  return static_cast<double>(tensor.rows.count * tensor.width * size_of(tensor.dtype));
}

double replayed(const RankClass& rank) {
  double live = 0.0, peak = 0.0;
  for (OpIndex op = 0; op < rank.ops.size(); ++op) {
    for (const TensorUse& use : rank.uses_of(op)) {
      if (use.access() == Access::create) live += bytes_in(rank.tensors[use.tensor()]);
    }
    peak = std::max(peak, live);
    for (const TensorUse& use : rank.uses_of(op)) {
      if (use.releases()) live -= bytes_in(rank.tensors[use.tensor()]);
    }
  }
  return peak;
}

TEST(MemoryEquality, HoldsForEveryDimension) {
  testing::for_random_cases(3000, [&](const testing::RandomCase& c, std::uint64_t index) {
    const StepProgram program = lower(c.model, c.strategy, c.batch, c.num_devices);
    const auto ranks = memory_per_stage(c.model, c.strategy, c.batch, program.mesh, kExact);
    ASSERT_EQ(ranks.size(), program.classes.size());
    for (std::size_t r = 0; r < ranks.size(); ++r) {
      ASSERT_EQ((ranks[r].activations + ranks[r].transients).in(unit::byte), replayed(program.classes[r]))
          << "case " << index << ", rank " << r << ", schedule " << name_of(c.strategy.schedule);
    }
  });
}

}  // namespace
}  // namespace orrery::costmodel
