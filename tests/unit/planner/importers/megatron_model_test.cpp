// SPDX-License-Identifier: Apache-2.0
#include "planner/importers/megatron_model.h"

#include "base/errors.h"
#include "tests/unit/planner/exporters/export_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

struct Read {
  Model model;
  std::vector<std::string> notes, unread;
  std::string problems;
};

Read read(const std::string& text, Model model = testing::plan_to_export().model, std::int64_t tp = 1) {
  Read out{.model = std::move(model), .notes = {}, .unread = {}, .problems = ""};
  ArgumentList in(text, "args.txt");
  read_megatron_model(in, tp, out.model, out.notes);
  out.unread = in.unread();
  try {
    in.throw_if_any();
  } catch (const ConfigError& error) {
    out.problems = error.what();
  }
  return out;
}

Model with_grouped_queries() {
  Model model = testing::plan_to_export().model;
  model.attention = GroupedQueryAttention{.num_heads = 4, .num_kv_heads = 2, .head_dim = 16};
  return model;
}

TEST(MegatronModel, HasTheSizesThatAreStated) {
  const Read job = read("--num-layers 4 --num-experts 4 --hidden-size 64 --moe-ffn-hidden-size 48");
  EXPECT_EQ(job.model.num_layers(), 4);
  EXPECT_EQ(job.model.moe->num_experts, 4);
  EXPECT_EQ(job.model.moe->expert_width, 48);
  EXPECT_THAT(job.notes,
              ElementsAre("--num-layers: 4 instead of 8 of small-moe", "--num-experts: 4 instead of 8 of small-moe",
                          "--moe-ffn-hidden-size: 48 instead of 32 of small-moe"));
  EXPECT_EQ(read("--num-layers 1").problems,
            "args.txt:1: --num-layers: expected a layer with experts among the first 1 of small-moe");
}

TEST(MegatronModel, HasTheLatentsThatAreStated) {
  const Read job = read(
      "--multi-latent-attention --q-lora-rank 25 --kv-lora-rank 26 --qk-head-dim 27 --qk-pos-emb-head-dim 28 "
      "--v-head-dim 29 --kv-channels 30");
  const auto& mla = std::get<MultiHeadLatentAttention>(job.model.attention);
  EXPECT_EQ(mla.q_lora_rank, 25);
  EXPECT_EQ(mla.kv_lora_rank, 26);
  EXPECT_EQ(mla.qk_nope_dim, 27);
  EXPECT_EQ(mla.qk_rope_dim, 28);
  EXPECT_EQ(mla.v_head_dim, 29);
  EXPECT_EQ(job.notes.size(), 5U);
  EXPECT_THAT(job.unread, IsEmpty());
}

TEST(MegatronModel, HasNoLatentsWhereItsAttentionIsAnother) {
  const Read job =
      read("--kv-lora-rank 32 --qk-head-dim 128 --num-query-groups 4 --kv-channels 8", with_grouped_queries());
  const auto& gqa = std::get<GroupedQueryAttention>(job.model.attention);
  EXPECT_EQ(gqa.num_kv_heads, 4);
  EXPECT_EQ(gqa.head_dim, 8);
  EXPECT_EQ(job.notes.size(), 2U);
  EXPECT_THAT(job.unread, IsEmpty());
  EXPECT_EQ(read("--multi-latent-attention", with_grouped_queries()).problems,
            "args.txt:1: --multi-latent-attention: expected none: small-moe has other attention");
}

TEST(MegatronModel, PadsTheVocabularyForItsRanks) {
  EXPECT_EQ(read("--vocab-size 1000").model.vocab, 1024);
  EXPECT_EQ(read("--vocab-size 1025", testing::plan_to_export().model, 4).model.vocab, 1536);
  EXPECT_EQ(read("--vocab-size 1000 --make-vocab-size-divisible-by 1").model.vocab, 1000);
  EXPECT_EQ(read("--vocab-size 1000 --padded-vocab-size 1001").model.vocab, 1001);
  Model model = testing::plan_to_export().model;
  model.vocab = 1024;
  EXPECT_THAT(read("--vocab-size 1000", model).notes, IsEmpty());
  model.vocab = 1000;
  EXPECT_THAT(read("--vocab-size 1000", model).notes,
              ElementsAre("--vocab-size, padded to a multiple of 128: 1024 instead of 1000 of small-moe"));
}

TEST(MegatronModel, HasExpertsInTheLayersThatAreStated) {
  using enum LayerKind;
  EXPECT_THAT(read("--moe-layer-freq ([0]*1+[1]*7)").notes, IsEmpty());
  const Read job = read("--moe-layer-freq [0]*2+[1]*6");
  EXPECT_THAT(job.model.layers, ElementsAre(dense, dense, moe, moe, moe, moe, moe, moe));
  EXPECT_THAT(job.notes, ElementsAre("--moe-layer-freq: 6 layers with experts, [0]*2+[1]*6; small-moe has 7"));
  const Read all = read("--moe-layer-freq 1 --ffn-hidden-size 77");
  EXPECT_THAT(all.model.layers, ElementsAre(moe, moe, moe, moe, moe, moe, moe, moe));
  EXPECT_EQ(all.model.dense_width, 0);
  EXPECT_THAT(all.unread, IsEmpty());
}

TEST(MegatronModel, ReportsLayersThatCannotBe) {
  EXPECT_EQ(read("\n--moe-layer-freq [0]*2+[1]*7").problems, "args.txt:2: --moe-layer-freq: expected 8 layers, got 9");
  EXPECT_EQ(read("--moe-layer-freq [0]*8").problems,
            "args.txt:1: --moe-layer-freq: expected a layer with experts among the first 8 of small-moe");
  Model model = testing::plan_to_export().model;
  model.layers.assign(8, LayerKind::moe);
  model.dense_width = 0;
  EXPECT_EQ(read("--moe-layer-freq 2", model).problems,
            "args.txt:1: --moe-layer-freq: expected --ffn-hidden-size beside it: small-moe has no dense layers");
  EXPECT_EQ(read("--moe-layer-freq 2 --ffn-hidden-size 96", model).model.dense_width, 96);
}

}  // namespace
}  // namespace orrery::planner
