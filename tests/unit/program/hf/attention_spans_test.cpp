// SPDX-License-Identifier: Apache-2.0
// Which layers see only a part of the sequence, as each family says it.
#include "program/hf/attention_spans.h"

#include "program/hf_config.h"
#include "tests/unit/program/reading.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery {
namespace {

using testing::edited;
using ::testing::IsEmpty;
using testing::problems_of;
using testing::repository_path;
using testing::repository_text;

constexpr const char* kMixtral = "catalog/models/mixtral-8x7b.json";
constexpr const char* kQwen3 = "catalog/models/qwen3-30b-a3b.json";
constexpr const char* kGptOss = "catalog/models/gpt-oss-20b.json";
constexpr const char* kScout = "catalog/models/llama4-scout.json";

Model edited_model(const std::string& path, const std::string& from, const std::string& to) {
  return read_model_text(edited(repository_text(path), from, to), "config.json");
}

std::string problems_of_edit(const std::string& path, const std::string& from, const std::string& to) {
  return problems_of([&] { return edited_model(path, from, to); });
}

/// One letter per layer: F full, W window, C chunk.
std::string drawn(const Model& model) {
  std::string out;
  for (std::int64_t layer = 0; layer < model.num_layers(); ++layer) {
    const AttentionSpan span = model.span(layer);
    out += span.is_full() ? 'F' : span.chunked ? 'C' : 'W';
  }
  return out;
}

std::string repeated(const std::string& text, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += text;
  return out;
}

TEST(AttentionSpans, AreEmptyWhereEveryLayerSeesEverything) {
  EXPECT_THAT(read_model(repository_path(kMixtral)).spans, IsEmpty());
  EXPECT_THAT(read_model(repository_path(kQwen3)).spans, IsEmpty());
  EXPECT_EQ(read_model(repository_path(kQwen3)).span(47), AttentionSpan{});
}

TEST(AttentionSpans, OfMistralHoldForEveryLayer) {
  const Model model = edited_model(kMixtral, R"("sliding_window": null)", R"("sliding_window": 4096)");
  EXPECT_EQ(drawn(model), repeated("W", 32));
  EXPECT_EQ(model.span(31).window, 4096);
}

TEST(AttentionSpans, OfQwenStartAtMaxWindowLayers) {
  std::string text = edited(repository_text(kQwen3), R"("use_sliding_window": false)", R"("use_sliding_window": true)");
  text = edited(text, R"("sliding_window": null)", R"("sliding_window": 1024)");
  text = edited(text, R"("max_window_layers": 48)", R"("max_window_layers": 40)");
  const Model model = read_model_text(text, "config.json");
  EXPECT_EQ(drawn(model), repeated("F", 40) + repeated("W", 8));
  EXPECT_EQ(model.span(40).window, 1024);
}

TEST(AttentionSpans, OfQwenNeedAWindow) {
  EXPECT_EQ(problems_of_edit(kQwen3, R"("use_sliding_window": false)", R"("use_sliding_window": true)"),
            "config.json:1: expected the key \"sliding_window\", since use_sliding_window is true");
}

TEST(AttentionSpans, OfGptOssAlternate) {
  const Model model = read_model(repository_path(kGptOss));
  EXPECT_EQ(drawn(model), repeated("WF", 12));
  EXPECT_EQ(model.span(0).window, 128);
}

TEST(AttentionSpans, OfGptOssWithoutAWindowAreFull) {
  EXPECT_THAT(edited_model(kGptOss, R"("sliding_window": 128)", R"("sliding_window": null)").spans, IsEmpty());
}

TEST(AttentionSpans, OfLlama4AreChunksWhereThereAreRotaryPositions) {
  const Model model = read_model(repository_path(kScout));
  EXPECT_EQ(drawn(model), repeated("CCCF", 12));
  EXPECT_EQ(model.span(0), (AttentionSpan{.window = 8192, .chunked = true}));
}

TEST(AttentionSpans, OfLlama4FollowTheIntervalWhereTheListIsEmpty) {
  std::string text = repository_text(kScout);
  const std::size_t from = text.find("\"no_rope_layers\""), to = text.find(']', from);
  text.replace(from, to - from + 1, R"("no_rope_layers": [], "no_rope_layer_interval": 6)");
  EXPECT_EQ(drawn(read_model_text(text, "config.json")), repeated("CCCCCF", 8));
}

TEST(AttentionSpans, OfLlama4WithoutAChunkAreFull) {
  EXPECT_THAT(edited_model(kScout, R"("attention_chunk_size": 8192)", R"("attention_chunk_size": null)").spans,
              IsEmpty());
}

TEST(AttentionSpans, OfPredictionModulesAreThoseOfTheLastLayer) {
  Model model = read_model(repository_path(kGptOss));
  model.spans.back() = {.window = 7};
  EXPECT_EQ(model.span(24).window, 7);
}

TEST(AttentionSpans, NameATypeThatIsUnknown) {
  const std::string text = repository_text(kGptOss);
  const std::size_t at = text.find("\"sliding_attention\"");
  EXPECT_EQ(problems_of([&] {
              return read_model_text(std::string(text).replace(at, 19, "\"linear_attention\""), "config.json");
            }),
            "config.json:16: /layer_types/0: expected \"full_attention\", \"sliding_attention\" or "
            "\"chunked_attention\", got \"linear_attention\"");
}

TEST(AttentionSpans, NeedAnEntryForEachLayer) {
  EXPECT_EQ(problems_of_edit(kGptOss, R"("num_hidden_layers": 24)", R"("num_hidden_layers": 25)"),
            "config.json:15: /layer_types: expected 25 entries (num_hidden_layers), got 24");
  std::string text = edited(repository_text(kScout), R"("num_hidden_layers": 48)", R"("num_hidden_layers": 52)");
  EXPECT_EQ(problems_of([&] { return read_model_text(text, "config.json"); }),
            "config.json:29: /text_config/no_rope_layers: expected 52 entries (num_hidden_layers), got 48");
}

}  // namespace
}  // namespace orrery
