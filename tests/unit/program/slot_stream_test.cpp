// SPDX-License-Identifier: Apache-2.0
#include "program/lowering/slot_stream.h"

#include "tests/unit/program/small_models.h"

#include <string>

#include <gtest/gtest.h>

namespace orrery::lowering {
namespace {

using testing::small_mla;
using testing::small_moe;
using testing::staged_strategy;

/// A stream of ops: 'c' computes, 'e' exchanges rows of experts.
class LetterStream {
 public:
  explicit LetterStream(const std::string& letters) {
    rules_.reserve(letters.size());
    for (const char letter : letters) {
      rules_.push_back({.queue = letter == 'e' ? Queue::ep : Queue::compute});
      stream_.push_back({.rule = &rules_.back()});
    }
  }
  const Stream& stream() const { return stream_; }

 private:
  std::vector<OpRule> rules_;
  Stream stream_;
};

/// Letters of both streams as they are zipped, those of the second in upper case.
std::string zipped(const std::string& first, const std::string& second) {
  const LetterStream a(first), b(second);
  std::string out;
  for (const ZippedItem& item : zip(a.stream(), b.stream())) {
    const char letter = item.item->rule->queue == Queue::ep ? 'e' : 'c';
    out += item.second ? static_cast<char>(letter - 'a' + 'A') : letter;
  }
  return out;
}

TEST(Zip, CutsBehindEachExchangeAndAlternates) { EXPECT_EQ(zipped("ccecec", "ceccec"), "cceCEceCCEcC"); }

TEST(Zip, WithoutExchangesRunsOneAfterTheOther) { EXPECT_EQ(zipped("ccc", "cc"), "cccCC"); }

TEST(Zip, LetsWhatIsLeftOfTheLongerStreamFollow) {
  EXPECT_EQ(zipped("c", "cececc"), "cCECECC");
  EXPECT_EQ(zipped("cecec", "c"), "ceCcec");
  EXPECT_EQ(zipped("ec", "ee"), "eEcE");
  EXPECT_EQ(zipped("", "ce"), "CE");
  EXPECT_EQ(zipped("", ""), "");
}

/// The streams of one stage under a strategy.
class StageStreamsOf {
 public:
  StageStreamsOf(const Model& model, const Strategy& strategy, std::int64_t rank, std::size_t chunk)
      : model_(model),
        strategy_(strategy),
        mesh_(strategy_, strategy_.pp * strategy_.ep),
        rules_context_(model_, strategy_, {.seq = 8, .global_batch = 16}, shapes_),
        rules_(rules_context_),
        context_(rules_context_, rules_, mesh_, rank, 16),
        messages_(rules_context_),
        streams_(context_.stages.at(chunk), messages_) {}

  const SlotStream& of(Slot::Kind kind) const { return streams_.of(kind); }

 private:
  const Model model_;
  const Strategy strategy_;
  const Mesh mesh_;
  ShapeTable shapes_;
  const RuleContext rules_context_;
  const ModelRules rules_;
  const ClassContext context_;
  const MessageRules messages_;
  const StageStreams streams_;
};

/// "igrad moe.fc1" of each op.
std::vector<std::string> names_of(const Stream& stream) {
  std::vector<std::string> out;
  for (const StreamItem& item : stream) {
    const Pass pass = item.kept == nullptr ? item.rule->pass : Pass::rec;
    out.push_back(std::string(name_of(pass)) + " " + std::string(name_of(item.rule->op)) + " " +
                  std::to_string(item.at.key_layer));
  }
  return out;
}

TEST(SlotStream, TheTwoHalvesOfASplitBackwardAreAWholeOne) {
  for (const Model& model : {small_moe(), small_mla()}) {
    for (const std::set<RecomputeModule>& recompute :
         {std::set<RecomputeModule>{}, {RecomputeModule::layernorm, RecomputeModule::moe}}) {
      for (const bool delayed : {false, true}) {
        Strategy strategy = staged_strategy(model, Schedule::zb_h1, 1, 1, 2);
        strategy.stages[0].recompute = recompute;
        strategy.overlap.delayed_wgrad = delayed;
        const StageStreamsOf streams(model, strategy, 0, 0);
        std::vector<std::string> whole = names_of(streams.of(Slot::Kind::backward).body);
        std::vector<std::string> split = names_of(streams.of(Slot::Kind::input_grad).body);
        for (std::string& name : names_of(streams.of(Slot::Kind::weight_grad).body)) split.push_back(std::move(name));
        EXPECT_NE(whole, split);
        std::sort(whole.begin(), whole.end());
        std::sort(split.begin(), split.end());
        EXPECT_EQ(whole, split);
      }
    }
  }
}

TEST(SlotStream, WeightGradientsGoFromHeadToEmbedding) {
  const Model model = small_moe(2);
  const StageStreamsOf streams(model, staged_strategy(model, Schedule::zb_h1, 1, 1), 0, 0);
  const std::vector<std::string> names = names_of(streams.of(Slot::Kind::weight_grad).body);
  EXPECT_EQ(names.front(), "wgrad head.logits -3");
  EXPECT_EQ(names[1], "wgrad moe.fc2 1");
  EXPECT_EQ(names.back(), "wgrad embed.lookup -2");
  EXPECT_EQ(names[names.size() - 2], "wgrad attn.qkv 0");
}

TEST(SlotStream, OnlyAWholeBackwardKeepsItsMessageToTheEnd) {
  const Model model = small_moe();
  const StageStreamsOf streams(model, staged_strategy(model, Schedule::zb_h1, 4, 1), 1, 0);
  EXPECT_TRUE(streams.of(Slot::Kind::backward).send_waits_for_body);
  EXPECT_FALSE(streams.of(Slot::Kind::input_grad).send_waits_for_body);
  EXPECT_FALSE(streams.of(Slot::Kind::weight_grad).receive || streams.of(Slot::Kind::weight_grad).send);
  EXPECT_EQ(streams.of(Slot::Kind::forward).receive->rule->queue, Queue::pp_recv_prev);
  EXPECT_EQ(streams.of(Slot::Kind::forward).receive->at.layer, 1);
  EXPECT_EQ(streams.of(Slot::Kind::forward).send->rule->queue, Queue::pp_send_next);
  EXPECT_EQ(streams.of(Slot::Kind::forward).send->at.layer, 2);
  EXPECT_EQ(streams.of(Slot::Kind::input_grad).receive->rule->queue, Queue::pp_recv_next);
  EXPECT_EQ(streams.of(Slot::Kind::input_grad).send->rule->queue, Queue::pp_send_prev);
}

TEST(SlotStream, TheWayBackOfAVTurnsItsMessagesAround) {
  const Model model = small_moe();
  const StageStreamsOf back(model, staged_strategy(model, Schedule::zbv, 2, 2), 1, 1);  // stage 2 of 0 .. 3
  EXPECT_FALSE(back.of(Slot::Kind::forward).receive);                                   // stage 1 is on the same rank
  EXPECT_EQ(back.of(Slot::Kind::forward).send->rule->queue, Queue::pp_send_prev_act);
  EXPECT_EQ(back.of(Slot::Kind::input_grad).receive->rule->queue, Queue::pp_recv_prev_grad);
  EXPECT_FALSE(back.of(Slot::Kind::input_grad).send);
}

}  // namespace
}  // namespace orrery::lowering
