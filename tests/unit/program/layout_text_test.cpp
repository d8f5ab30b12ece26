// SPDX-License-Identifier: Apache-2.0
#include "program/layout_text.h"

#include "base/rng.h"

#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery {
namespace {

using ::testing::ElementsAre;

std::vector<StageLayout> stages_of(std::string_view text) {
  const auto parsed = parse_layout(text);
  if (const auto* problem = std::get_if<LayoutTextProblem>(&parsed)) {
    ADD_FAILURE() << text << ": " << problem->position << ": " << problem->message;
    return {};
  }
  return std::get<std::vector<StageLayout>>(parsed);
}

/// "position: message"; "" for a text that is a layout.
std::string problem_of(std::string_view text) {
  const auto parsed = parse_layout(text);
  const auto* problem = std::get_if<LayoutTextProblem>(&parsed);
  return problem == nullptr ? "" : std::to_string(problem->position) + ": " + problem->message;
}

std::int64_t num_layers(const std::vector<StageLayout>& stages) {
  return std::accumulate(stages.begin(), stages.end(), std::int64_t{0},
                         [](std::int64_t sum, const StageLayout& stage) { return sum + stage.num_layers; });
}

TEST(LayoutText, ReadsStagesOneByOne) {
  EXPECT_THAT(stages_of("Et|tt|mL"),
              ElementsAre(StageLayout{.first_layer = 0, .num_layers = 1, .embedding = true},
                          StageLayout{.first_layer = 1, .num_layers = 2},
                          StageLayout{.first_layer = 3, .num_layers = 0, .head = true, .num_mtp = 1}));
  EXPECT_THAT(stages_of("EtL"), ElementsAre(StageLayout{.num_layers = 1, .embedding = true, .head = true}));
}

// Layouts of DeepSeek-V3 that are in use, each of 61 layers; counted by hand.
TEST(LayoutText, ReadsWhatMegatronReads) {
  struct Vector {
    const char* text;
    std::size_t num_stages;
    std::int64_t num_mtp;
  };
  for (const auto& [text, num_stages, num_mtp] : {Vector{"Et|(tt|)*30mL", 32, 1},
                                                  {"Et*4|(tttt|)*14tmL", 16, 1},
                                                  {"Et*2|(tt|)*22t|(tt|)*7mL", 32, 1},
                                                  {"Et|t|(tt|)*29tL", 32, 0},
                                                  {"Et*3|(tt|)*29|L", 32, 0},
                                                  {"Ettt|(tt|)*29,m|L", 32, 1}}) {
    SCOPED_TRACE(text);
    const std::vector<StageLayout> stages = stages_of(text);
    EXPECT_EQ(stages.size(), num_stages);
    EXPECT_EQ(num_layers(stages), 61);
    std::int64_t modules = 0;
    for (const StageLayout& stage : stages) modules += stage.num_mtp;
    EXPECT_EQ(modules, num_mtp);
  }
}

TEST(LayoutText, RepeatsSymbolsGroupsAndEndsOfStages) {
  EXPECT_EQ(stages_of("Et*2|*2ttL"), stages_of("Ett||ttL"));
  EXPECT_EQ(stages_of("E(t|tt|)*2L"), stages_of("Et|tt|t|tt|L"));
  EXPECT_EQ(stages_of("E(|t*2)*2,mL"), stages_of("E|tt|ttmL"));
  EXPECT_EQ(stages_of("E,(t,t|)*1,,tL"), stages_of("Ett|tL"));
}

TEST(LayoutText, LeavesEmptyStagesToTheRules) {
  const std::vector<StageLayout> stages = stages_of("Et||tL");
  ASSERT_EQ(stages.size(), 3);
  EXPECT_EQ(stages[1], StageLayout{.first_layer = 1});
}

TEST(LayoutText, SaysWhatIsWrongAndWhere) {
  EXPECT_EQ(problem_of("uneven"), "1: expected E, t, m, L, | or a group, got \"u\"");
  EXPECT_EQ(problem_of("Et tL"), "3: expected E, t, m, L, | or a group, got \" \"");
  EXPECT_EQ(problem_of("Et)L"), "3: expected E, t, m, L, | or a group, got \")\"");
  EXPECT_EQ(problem_of("Et*|L"), "4: expected a count behind *, got \"|\"");
  EXPECT_EQ(problem_of("Et*"), "4: expected a count behind *, got the end");
  EXPECT_EQ(problem_of("Et*0L"), "4: expected a count from 1, without leading zeros, got \"0\"");
  EXPECT_EQ(problem_of("Et*2*3L"), "5: expected one count for an item, got \"*\"");
  EXPECT_EQ(problem_of("E(t|)tL"), "6: expected *n behind a group, got \"t\"");
  EXPECT_EQ(problem_of("E(t|)"), "6: expected *n behind a group, got the end");
  EXPECT_EQ(problem_of("E((t)*2|)*3L"), "3: expected E, t, m, L, | or ), got \"(\"");
  EXPECT_EQ(problem_of("E(t|"), "5: expected E, t, m, L, | or ), got the end");
  EXPECT_EQ(problem_of("E()*2L"), "2: expected symbols in the group, got none");
  EXPECT_EQ(problem_of("E(,)*2L"), "2: expected symbols in the group, got none");
  EXPECT_EQ(problem_of("Et*99999999999999999999L"), "2: expected at most 100000 symbols in all");
  EXPECT_EQ(problem_of("E(t|)*50001L"), "3: expected at most 100000 symbols in all");
}

TEST(LayoutText, WantsEmbeddingFirstHeadLastAndModulesBehindLayers) {
  EXPECT_EQ(problem_of("tt|L"), "1: expected E first");
  EXPECT_EQ(problem_of("EEtL"), "2: expected E once, as the first symbol");
  EXPECT_EQ(problem_of("E*2tL"), "1: expected E once, as the first symbol");
  EXPECT_EQ(problem_of("Et|tt"), "6: expected L last");
  EXPECT_EQ(problem_of(""), "1: expected L last");
  EXPECT_EQ(problem_of("EtL|t"), "3: expected L once, as the last symbol");
  EXPECT_EQ(problem_of("Et|m|tL"), "6: expected no t behind an m");
}

TEST(LayoutText, WritesTheShortestTextOfWholeStages) {
  for (const char* text : {"EtL", "Ett|ttL", "Et*3|t*3L", "Et|(tt|)*30mL", "Et*3|(tt|)*29m|L", "Et*4|(t*4|)*14tmL",
                           "Ett|(tt|)*22t|(tt|)*7mL", "Et|tt|(t|tt|)*4L", "Et|t|t|tL", "Et|(t|)*4tL", "E|t*3||L"}) {
    EXPECT_EQ(layout_text(stages_of(text)), text);
  }
  EXPECT_EQ(layout_text(stages_of("Etttt|(tttt|)*14tmL")), "Et*4|(t*4|)*14tmL");
  EXPECT_EQ(layout_text(stages_of("Et|tt|tt|tt|tt|t|tt|tt|tt|tt|L")), "Et|(tt|)*4t|(tt|)*4L");
  EXPECT_EQ(layout_text({}), "");
}

TEST(LayoutText, OfAnyStagesReadsBackAsTheStages) {
  for (std::uint64_t index = 0; index < 500; ++index) {
    const CounterRng rng(7, index);
    std::uint64_t next = 0;
    std::vector<StageLayout> stages(1 + rng.below(next++, 40));
    std::int64_t first_layer = 0;
    for (StageLayout& stage : stages) {
      stage = {.first_layer = first_layer, .num_layers = static_cast<std::int64_t>(rng.below(next++, 3))};
      first_layer += stage.num_layers;
    }
    stages.front().embedding = true;
    stages.back().head = true;
    stages.back().num_mtp = static_cast<std::int64_t>(rng.below(next++, 4));
    const std::string text = layout_text(stages);
    EXPECT_EQ(stages_of(text), stages) << text;
    std::string plain;
    for (const StageLayout& stage : stages) {
      plain += std::string(stage.embedding ? "E" : "") + std::string(static_cast<std::size_t>(stage.num_layers), 't') +
               std::string(static_cast<std::size_t>(stage.num_mtp), 'm') + (stage.head ? "L" : "|");
    }
    EXPECT_LE(text.size(), plain.size());
  }
}

}  // namespace
}  // namespace orrery
