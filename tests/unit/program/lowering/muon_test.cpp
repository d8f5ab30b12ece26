// SPDX-License-Identifier: Apache-2.0
#include "program/lowering/muon.h"

#include "program/work.h"
#include "tests/unit/program/lowering/lowered.h"

namespace orrery {
namespace {

using testing::Lowered;
using testing::one_dense_layer;
using testing::small_strategy;

// Matrices of the layer: queries, keys and values 128 x 64, output 64 x 64, gate and up 256 x 64, down 64 x 128.
constexpr std::int64_t kMatrixElements = 128 * 64 + 64 * 64 + 256 * 64 + 64 * 128;

Strategy with_muon() {
  Strategy strategy = small_strategy(one_dense_layer());
  strategy.optimizer = OptimizerKind::muon;
  return strategy;
}

double newton_schulz_flops(const Lowered& lowered) {
  double sum = 0.0;
  for (OpIndex op = 0; op < lowered.ops().ops.size(); ++op) {
    const OpKey& key = lowered.key(op);
    if (key.op != OpCode::muon_dense || key.bucket < 0) continue;
    const auto shape = lowered.shape<GroupedGemmShape>(op);
    const double rows = static_cast<double>(shape.rows.count) / static_cast<double>(shape.num_experts);
    const ResolvedLoad load{.rows_per_expert = std::vector<double>(static_cast<std::size_t>(shape.num_experts), rows)};
    sum += work_of(key, OpShape(shape), load).flops.in(unit::flop);
  }
  return sum;
}

/// Five iterations on an m x n matrix, m <= n: x x^T and its product with x, 2 m m n each; the square, 2 m m m.
double by_hand(double m, double n) { return 5.0 * (2.0 * 2.0 * m * m * n + 2.0 * m * m * m); }

TEST(Muon, FiveIterationsHaveTheFlopsOfTheirProducts) {
  const double expected = 2.0 * by_hand(64, 128) + by_hand(64, 64) + by_hand(64, 256);
  EXPECT_DOUBLE_EQ(newton_schulz_flops({one_dense_layer(), with_muon()}), expected);
}

TEST(Muon, MatricesOfOneShapeAreOneBatch) {
  const Lowered lowered(one_dense_layer(), with_muon());
  // Three shapes, two products each, then the update.
  EXPECT_EQ(lowered.names([](const OpKey& key) { return key.op == OpCode::muon_dense; }),
            "muon.dense.b0 muon.dense.b1 muon.dense.b2 muon.dense.b3 muon.dense.b4 muon.dense.b5 muon.dense");
  const auto of_two = lowered.shape<GroupedGemmShape>("muon.dense.b2", Pass::update);
  EXPECT_EQ(of_two.num_experts, 2 * 5 * 2);
  EXPECT_EQ(of_two.n, 64);
  EXPECT_EQ(of_two.k, 128);
}

TEST(Muon, ShardedMatricesAreDealtWhole) {
  Strategy strategy = with_muon();
  strategy.zero_dense = 1;
  // Of the two of one shape each of two ranks has one; of a single one the slower rank has it.
  EXPECT_DOUBLE_EQ(newton_schulz_flops({one_dense_layer(), strategy, 2}),
                   by_hand(64, 128) + by_hand(64, 64) + by_hand(64, 256));
}

TEST(Muon, ATensorParallelRankOrthogonalisesItsOwnBlock) {
  Strategy strategy = with_muon();
  strategy.tp = 2;
  // Halves: 64 x 64 of queries, keys and values, 64 x 32, 128 x 64 and 64 x 64.
  EXPECT_DOUBLE_EQ(newton_schulz_flops({one_dense_layer(), strategy, 2}),
                   2.0 * by_hand(64, 64) + by_hand(32, 64) + by_hand(64, 128));
}

TEST(Muon, MuonKeepsOneMoment) {
  const Lowered lowered(one_dense_layer(), with_muon());
  const auto muon = lowered.shape<MemoryShape>("muon.dense", Pass::update);
  EXPECT_EQ(muon.rows.count, kMatrixElements);
  EXPECT_EQ(muon.read_per_row, 4 + 4 + 4);     // gradient, moment, master
  EXPECT_EQ(muon.written_per_row, 4 + 4 + 2);  // moment, master, weight
  const auto adamw = lowered.shape<MemoryShape>("adamw.dense", Pass::update);
  EXPECT_EQ(adamw.read_per_row, 4 + 2 * 4 + 4);
  EXPECT_EQ(adamw.written_per_row, 2 * 4 + 4 + 2);
}

TEST(Muon, EmbeddingHeadAndNormsStayWithAdamw) {
  const Lowered lowered(one_dense_layer(), with_muon());
  EXPECT_EQ(lowered.shape<MemoryShape>("adamw.dense", Pass::update).rows.count, 2 * 256 * 64 + 3 * 64);
}

TEST(Muon, AdamwAloneMultipliesNothing) {
  EXPECT_FALSE(Lowered(one_dense_layer(), small_strategy(one_dense_layer())).has("muon.dense"));
}

}  // namespace
}  // namespace orrery
