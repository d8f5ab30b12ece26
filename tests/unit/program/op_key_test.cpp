// SPDX-License-Identifier: Apache-2.0
#include "program/op_key.h"

#include <set>

#include <gtest/gtest.h>

namespace orrery {
namespace {

TEST(OpKey, ReadsAsAPath) {
  EXPECT_EQ(to_string({.micro_batch = 3, .stage = 2, .layer = 17, .pass = Pass::fwd, .op = OpCode::moe_dispatch}),
            "step/mb3/stage2/layer17/fwd/moe.dispatch");
  EXPECT_EQ(to_string({.micro_batch = 0, .stage = 0, .layer = OpKey::kEmbed, .op = OpCode::embed_lookup}),
            "step/mb0/stage0/embed/fwd/embed.lookup");
  EXPECT_EQ(to_string({.micro_batch = 1, .stage = 3, .pass = Pass::fwd, .op = OpCode::pp_recv_act}),
            "step/mb1/stage3/fwd/pp.recv_act");
  EXPECT_EQ(to_string({.stage = 1, .pass = Pass::sync, .op = OpCode::dp_grad_rs, .bucket = 3}),
            "step/stage1/sync/dp.grad_rs.b3");
}

TEST(OpKey, EveryOpHasItsOwnNameAndIsFoundByIt) {
  std::set<std::string_view> names;
  for (int code = 0; code < kNumOpCodes; ++code) {
    const auto op = static_cast<OpCode>(code);
    EXPECT_TRUE(names.insert(name_of(op)).second) << name_of(op);
    EXPECT_EQ(op_code_of(name_of(op)), op);
  }
}

TEST(OpKey, KnowsWhatTalksToOtherRanks) {
  for (const OpCode op : {OpCode::moe_dispatch, OpCode::pp_recv_grad, OpCode::dp_grad_rs, OpCode::edp_param_ag,
                          OpCode::tp_loss_max, OpCode::cp_kv, OpCode::etp_gather, OpCode::norm_reduce,
                          OpCode::moe_bias_counts, OpCode::embed_grad_ar, OpCode::dp_replica_ar}) {
    EXPECT_TRUE(is_communication(op)) << name_of(op);
  }
  for (const OpCode op :
       {OpCode::attn_core, OpCode::moe_permute, OpCode::moe_fc1, OpCode::norm_local, OpCode::moe_bias,
        OpCode::dp_grad_cast, OpCode::edp_grad_cast, OpCode::adamw_dense, OpCode::opt_load, OpCode::act_store}) {
    EXPECT_FALSE(is_communication(op)) << name_of(op);
  }
}

TEST(OpKey, IsReadBackAsWritten) {
  for (int code = 0; code < kNumOpCodes; ++code) {
    for (const Pass pass : {Pass::fwd, Pass::rec, Pass::igrad, Pass::wgrad, Pass::sync, Pass::update}) {
      for (const int layer : {-3, -2, -1, 0, 60}) {
        const OpKey key{.micro_batch = code - 1,
                        .stage = 15,
                        .layer = static_cast<std::int16_t>(layer),
                        .pass = pass,
                        .op = static_cast<OpCode>(code),
                        .bucket = static_cast<std::int16_t>(layer)};
        OpKey expected = key;
        if (expected.bucket < 0) expected.bucket = -1;
        EXPECT_EQ(parse_op_key(to_string(key)), expected) << to_string(key);
      }
    }
  }
}

TEST(OpKey, RefusesWhatIsNotInTheGrammar) {
  for (const char* text : {"", "step", "mb0/stage0/fwd/attn.qkv", "step/stage0/fwd", "step/stageX/fwd/attn.qkv",
                           "step/stage0/forward/attn.qkv", "step/stage0/fwd/attn.xyz", "step/stage0/fwd/attn.qkv/more",
                           "step/mb-1/stage0/fwd/attn.qkv", "step/stage0/sync/dp.grad_rs.c3"}) {
    EXPECT_EQ(parse_op_key(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace orrery
