// SPDX-License-Identifier: Apache-2.0
#include "cli/fit_report.h"

#include "cli/prediction.h"
#include "tests/unit/planner/fit_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::cli {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::plan_that_needs;

std::string text_of(const Plan& plan) { return fit_report(plan, memory_of(plan), "no catalog").text(); }

std::string remedies_text(const Plan& plan) {
  Report report;
  add_remedies(report, plan, ORRERY_SOURCE_DIR "/catalog");
  return report.text();
}

std::string answers_text(const Plan& plan, const FitQuestions& questions) {
  Report report;
  add_answers(report, plan, questions, ORRERY_SOURCE_DIR "/catalog");
  return report.text();
}

TEST(FitReport, WritesTheLayersOfAStage) {
  EXPECT_EQ(layers_text({.first_layer = 0, .num_layers = 4, .embedding = true}), "embed+0..3");
  EXPECT_EQ(layers_text({.first_layer = 4, .num_layers = 1}), "4");
  EXPECT_EQ(layers_text({.first_layer = 56, .num_layers = 5, .head = true, .num_mtp = 1}), "56..60+mtp+head");
  EXPECT_EQ(layers_text({.first_layer = 61, .head = true}), "head");
  EXPECT_EQ(layers_text({.embedding = true}), "embed");
}

TEST(FitReport, GivesTheVerdictWithItsHeadroom) {
  const std::string roomy = text_of(plan_that_needs(2.0));
  EXPECT_THAT(roomy, HasSubstr("  fits                                yes\n"));
  EXPECT_THAT(roomy, HasSubstr("  of the device                       50.0 %\n"));
  EXPECT_THAT(roomy, Not(HasSubstr("note: ")));
  const std::string tight = text_of(plan_that_needs(0.8));
  EXPECT_THAT(tight, HasSubstr("  fits                                no\n"));
  EXPECT_THAT(tight, HasSubstr("  of the device                       -25.0 %\n"));
  EXPECT_THAT(tight, ContainsRegex("note: pipeline rank [01] needs [0-9.]+ MiB, device has [0-9.]+ MiB\n"));
  EXPECT_THAT(tight, HasSubstr("  the same for Megatron-LM            Ett|ttL\n"));
  EXPECT_THAT(tight, ContainsRegex("  when                                in a (forward|backward) of stage [01]\n"));
}

TEST(FitReport, ListsEveryRankWithAllItsStages) {
  Plan plan = plan_that_needs(2.0);
  plan.strategy = testing::staged_strategy(plan.model, Schedule::zbv, 2, 2);
  const std::string text = text_of(plan);
  EXPECT_THAT(text, ContainsRegex("\n +0 +0\\+3 +embed\\+0, 3\\+head +"));
  EXPECT_THAT(text, ContainsRegex("\n +1 +1\\+2 +1, 2 +"));
  EXPECT_THAT(text, ContainsRegex("\n +3  moe +1  none "));
  EXPECT_THAT(text, ContainsRegex("\n +3  head +1  none +16,448 "));
}

TEST(FitReport, ListsRemediesSingleOrInPairs) {
  EXPECT_THAT(remedies_text(plan_that_needs(0.9)),
              HasSubstr("Single changes that make it fit, cheapest first:\n  change "));
  EXPECT_EQ(remedies_text(plan_that_needs(1e-3)),
            "  note: no change and no pair of changes makes it fit: orrery plan searches for several at once\n");
}

TEST(FitReport, AnswersWhatIsAsked) {
  const Plan plan = plan_that_needs(1.1);
  EXPECT_EQ(answers_text(plan, {}), "");
  FitQuestions questions{.largest_micro_batch = true};
  EXPECT_TRUE(questions.any());
  EXPECT_THAT(answers_text(plan, questions), HasSubstr("  largest micro-batch "));
  EXPECT_THAT(answers_text(plan, questions), Not(HasSubstr("longest sequence")));
  questions = {.fewest_devices = true, .longest_sequence = true, .largest_layers = true};
  for (const char* question : {"fewest devices", "longest sequence", "most layers"}) {
    EXPECT_THAT(answers_text(plan, questions), HasSubstr(question));
  }
}

TEST(FitReport, FindsTheLargestModelThatFits) {
  const Plan plan = plan_that_needs(1.1);
  Model small = testing::small_moe(2), large = testing::small_moe(40), tiny = testing::small_moe(1);
  small.name = "small";
  large.name = "large";
  tiny.name = "tiny";
  const std::string text = answers_text(plan, {.models = {small, large, plan.model, tiny}});
  EXPECT_THAT(text, ContainsRegex("  largest model  small-moe +[0-9.]+ MiB  see the models below\n"));
  EXPECT_THAT(text, ContainsRegex("  large +[0-9,]+ +40 +[0-9.]+ MiB +no  pipeline rank [01] needs "));
  EXPECT_THAT(text, ContainsRegex("  tiny .* no  stages: expected at least 2 layers, one for each stage\n"));
  EXPECT_THAT(answers_text(plan, {.models = {small}}),
              ContainsRegex("  largest model  small +[0-9.]+ MiB  every model that was given fits\n"));
  EXPECT_THAT(answers_text(plan, {.models = {large}}),
              ContainsRegex("  largest model +none +-  see the models below\n"));
}

}  // namespace
}  // namespace orrery::cli
