// SPDX-License-Identifier: Apache-2.0
// Numbers by hand, from the tables of papers and not from the code.
#include "costmodel/layer_work.h"

#include "tests/unit/program/small_models.h"

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

const BatchShape kBatch{.seq = 64, .global_batch = 8};

/// Llama 3 8B's layer: h 4096, 32 heads of 128, 8 key-value heads, f 14336.
const Model& llama() {
  static const Model kModel = [] {
    Model model;
    model.hidden = 4096;
    model.vocab = 128256;
    model.dense_width = 14336;
    model.attention = GroupedQueryAttention{.num_heads = 32, .num_kv_heads = 8, .head_dim = 128};
    model.layers = {LayerKind::dense};
    return model;
  }();
  return kModel;
}

Strategy tensor_parallel(std::int64_t tp, bool sp) {
  Strategy strategy;
  strategy.tp = tp;
  strategy.sp = sp;
  return strategy;
}

// Two collectives forward, two backward and the gather for the weight gradient, each (t-1)/t T h B in a block.
TEST(LayerWork, SendsFiveGathersOrScattersOfABlockWithSequenceParallelism) {
  const double one = 3.0 / 4.0 * 64.0 * 4096.0 * 2.0;
  const Strategy strategy = tensor_parallel(4, true);
  const LayerWork layer(llama(), strategy, kBatch);
  for (const PartWork& part : {layer.projections(), layer.dense()}) {
    EXPECT_EQ(part.fwd.tp, 2.0 * one);
    EXPECT_EQ(part.igrad.tp, 2.0 * one);
    EXPECT_EQ(part.wgrad.tp, one);
  }
}

TEST(LayerWork, SendsTwoAllReducesOfABlockWithoutSequenceParallelism) {
  const double all_reduce = 2.0 * 3.0 / 4.0 * 64.0 * 4096.0 * 2.0;
  const Strategy strategy = tensor_parallel(4, false);
  const LayerWork layer(llama(), strategy, kBatch);
  for (const PartWork& part : {layer.projections(), layer.dense()}) {
    EXPECT_EQ(part.fwd.tp, all_reduce);
    EXPECT_EQ(part.igrad.tp, all_reduce);
    EXPECT_EQ(part.wgrad.tp, 0.0);
  }
}

TEST(LayerWork, SharesProductsAndPairsAmongTheRanks) {
  const Strategy one = tensor_parallel(1, false);
  const LayerWork alone(llama(), one, kBatch);
  EXPECT_EQ(alone.projections().fwd.linear, 2.0 * 64.0 * 4096.0 * (6144.0 + 4096.0));
  EXPECT_EQ(alone.dense().wgrad.linear, 2.0 * 64.0 * 3.0 * 4096.0 * 14336.0);
  EXPECT_EQ(alone.core({}).fwd.attention, 2.0 * 32.0 * 64.0 * 64.0 / 2.0 * 256.0);
  Strategy strategy = tensor_parallel(4, true);
  strategy.cp = 2;
  const LayerWork shared(llama(), strategy, kBatch);
  EXPECT_EQ(8.0 * shared.projections().fwd.linear, alone.projections().fwd.linear);
  EXPECT_EQ(8.0 * shared.core({}).igrad.attention, alone.core({}).igrad.attention);
}

// (c-1) T K forward, and twice that backward: keys and values again, and their gradients.
TEST(LayerWork, SendsKeysAndValuesToEveryRankOfAContextParallelGroup) {
  Strategy strategy;
  strategy.cp = 4;
  for (const ContextParallel kind : {ContextParallel::ring, ContextParallel::all_gather}) {
    strategy.cp_kind = kind;
    const PartWork core = LayerWork(llama(), strategy, kBatch).core({});
    EXPECT_EQ(core.fwd.cp, 3.0 * 16.0 * 8.0 * 256.0 * 2.0);
    EXPECT_EQ(core.igrad.cp, 2.0 * core.fwd.cp);
  }
  strategy.cp_kind = ContextParallel::ulysses;
  EXPECT_EQ(LayerWork(llama(), strategy, kBatch).core({}).fwd.cp, 3.0 / 4.0 * 16.0 * (48.0 + 32.0) * 128.0 * 2.0);
}

TEST(LayerWork, CountsThePairsThatAWindowLeaves) {
  const Strategy strategy;
  const LayerWork layer(llama(), strategy, kBatch);
  const double pair = 2.0 * 32.0 * 256.0;
  EXPECT_EQ(layer.core({.window = 16}).fwd.attention, pair * 16.0 * (64.0 - 8.0));
  EXPECT_EQ(layer.core({.window = 16, .chunked = true}).fwd.attention, pair * 4.0 * 16.0 * 16.0 / 2.0);
  EXPECT_EQ(layer.core({.window = 64}).fwd.attention, layer.core({}).fwd.attention);
}

TEST(LayerWork, SendsEachTokenOnceToARankWithTwoLevels) {
  const Model model = testing::small_moe();
  Strategy strategy;
  strategy.ep = 8;
  const double flat = LayerWork(model, strategy, kBatch).experts().fwd.ep;
  EXPECT_EQ(flat, 128.0 * 7.0 / 8.0 * (64.0 * 2.0 + 4.0 + 64.0 * 2.0) + 7.0 * 4.0);
  // One expert on each rank: two different ranks for two choices, but no counts, and indices beside the weights.
  strategy.dispatcher = Dispatcher::two_level;
  EXPECT_DOUBLE_EQ(LayerWork(model, strategy, kBatch).experts().fwd.ep,
                   64.0 * 2.0 * 7.0 / 8.0 * (64.0 * 2.0 + 24.0 + 64.0 * 2.0));
  strategy.dispatcher = Dispatcher::all_gather;
  EXPECT_EQ(LayerWork(model, strategy, kBatch).experts().fwd.ep, 7.0 * 64.0 * (128.0 + 40.0 + 128.0));
}

TEST(LayerWork, PadsTheRowsOfEveryExpertToItsCapacity) {
  const Model model = testing::small_moe();  // 128 pairs for 8 experts
  Strategy strategy;
  strategy.capacity_factor = 1.3;  // 20.8 places, rounded up
  EXPECT_EQ(LayerWork(model, strategy, kBatch).experts().fwd.experts, 2.0 * 8.0 * 21.0 * 64.0 * 32.0 * 3.0);
}

TEST(LayerWork, SendsTheRowsOfAnExpertToAllRanksThatShareIt) {
  const Model model = testing::small_moe();
  Strategy strategy;
  strategy.etp = 2;
  const PartWork part = LayerWork(model, strategy, kBatch).experts();
  EXPECT_EQ(part.fwd.etp, 128.0 * (128.0 + 4.0 + 128.0));
  EXPECT_EQ(part.fwd.experts, 2.0 * 128.0 * 64.0 * 32.0 * 3.0);
}

}  // namespace
}  // namespace orrery::costmodel
