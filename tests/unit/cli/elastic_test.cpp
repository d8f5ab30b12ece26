// SPDX-License-Identifier: Apache-2.0
#include "cli/elastic.h"

#include <deque>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::int64_t kSteps = 10;

/// A try as a test wants it: steps that end well, then the failure, if any.
struct Script {
  std::int64_t num_steps = 0;
  std::vector<int> lost = {};
  bool fails = false;
  std::int64_t saved = 0;  // last checkpoint afterwards
};

/// Does what it is told, and writes down what it is asked for. The loss of a step tells which try trained it.
class ScriptedWorld final : public ElasticWorld {
 public:
  ScriptedWorld(std::initializer_list<Script> scripts) : scripts_(scripts) {}

  Attempt train(const Plan& plan, const std::optional<executor::StartPoint>& start, std::int64_t restarts) override {
    const std::int64_t first = start ? start->step : 0;
    starts.push_back(first);
    ranks.push_back(plan.num_ranks());
    EXPECT_EQ(restarts, std::ssize(starts) - 1);
    const Script script = scripts_.front();
    if (scripts_.size() > 1) scripts_.pop_front();  // the last one again and again
    Attempt attempt{.steps = {}, .load = seconds(0.5), .first_step = seconds(0.25), .outcome = Trace()};
    for (std::int64_t i = 0; i < script.num_steps; ++i) {
      attempt.steps.push_back(
          {.step = static_cast<std::int32_t>(first + i), .loss = static_cast<double>(starts.size())});
    }
    if (script.fails || !script.lost.empty()) {
      Failure failure{.text = "rank 1: trouble", .lost = {}, .detect = seconds(2.0), .stop = seconds(1.0)};
      for (const int rank : script.lost) failure.lost.emplace_back(rank);
      attempt.outcome = failure;
    }
    saved_ = script.saved;
    return attempt;
  }
  std::optional<executor::StartPoint> last_checkpoint(const Plan&) override {
    if (saved_ == 0) return std::nullopt;
    return executor::StartPoint{.path = "step", .step = saved_};
  }
  std::variant<Plan, planner::Infeasible> replan(const Plan& from, const std::vector<RankId>& lost,
                                                 std::int64_t steps_left) override {
    horizons.push_back(steps_left);
    if (!is_feasible) return planner::Infeasible{.reason = "no world", .hint = "another batch"};
    Plan plan = from;
    plan.device_of_rank.clear();
    for (std::int32_t rank = 0; rank < from.num_ranks(); ++rank) {
      if (std::ranges::find(lost, RankId(rank)) == lost.end())
        plan.device_of_rank.push_back(from.device_of(RankId(rank)));
    }
    while (std::ssize(plan.device_of_rank) > most_devices) plan.device_of_rank.pop_back();
    return plan;
  }
  void on_restart(const Restart& restart, const Plan& plan) override {
    EXPECT_EQ(restart.num_devices, plan.num_ranks());
    ++num_told_restarts;
  }
  void tell(const std::string& sentence) override { told.push_back(sentence); }

  bool is_feasible = true;
  std::int64_t most_devices = 100;
  int num_told_restarts = 0;
  std::vector<std::int64_t> starts, ranks, horizons;
  std::vector<std::string> told;

 private:
  std::deque<Script> scripts_;
  std::int64_t saved_ = 0;
};

Plan plan_on(std::initializer_list<int> devices) {
  Plan plan;
  for (const int device : devices) plan.device_of_rank.emplace_back(device);
  return plan;
}

ElasticResult run(ScriptedWorld& world, std::int64_t max_restarts = 3) {
  return train_elastically(plan_on({0, 1, 2, 3}), std::nullopt, {.num_steps = kSteps, .max_restarts = max_restarts},
                           world);
}

std::vector<double> losses(const ElasticResult& result) {
  std::vector<double> losses;
  for (const StepRecord& step : result.steps) losses.push_back(step.loss);
  return losses;
}

std::string why(const ElasticResult& result) {
  const auto* end = std::get_if<GaveUp>(&result.outcome);
  return end == nullptr ? "it did not" : end->why;
}

TEST(Elastic, ARunThatNothingHappensToIsTrainedOnce) {
  ScriptedWorld world{{.num_steps = kSteps}};
  const ElasticResult result = run(world);
  EXPECT_TRUE(std::holds_alternative<Trace>(result.outcome));
  EXPECT_THAT(result.restarts, IsEmpty());
  EXPECT_THAT(result.steps, ::testing::SizeIs(10));
  EXPECT_THAT(world.told, IsEmpty());
}

TEST(Elastic, ALostRankIsPlannedAroundAndTheLastCheckpointLoaded) {
  ScriptedWorld world{{.num_steps = 7, .lost = {1}, .saved = 4}, {.num_steps = 6, .saved = 8}};
  world.most_devices = 2;
  const ElasticResult result = run(world);
  ASSERT_TRUE(std::holds_alternative<Trace>(result.outcome)) << why(result);
  EXPECT_THAT(world.starts, ElementsAre(0, 4));
  EXPECT_THAT(world.ranks, ElementsAre(4, 2));
  EXPECT_THAT(world.horizons, ElementsAre(3)) << "steps that are left";
  EXPECT_THAT(world.told, ElementsAre("rank 1: trouble"));
  ASSERT_EQ(result.restarts.size(), 1U);
  const Restart& restart = result.restarts.front();
  EXPECT_EQ(restart.failed_step, 7);
  EXPECT_THAT(restart.lost, ElementsAre(DeviceIndex(1)));
  EXPECT_EQ(restart.num_left, 3);
  EXPECT_EQ(restart.num_devices, 2);
  EXPECT_EQ(restart.start->step, 4);
  EXPECT_EQ(restart.detect, seconds(2.0));
  EXPECT_EQ(restart.stop, seconds(1.0));
  EXPECT_EQ(restart.load, seconds(0.5));
  EXPECT_EQ(restart.first_step, seconds(0.25));
  // Steps 4 to 6 were trained twice; the second time counts.
  EXPECT_THAT(losses(result), ElementsAre(1, 1, 1, 1, 2, 2, 2, 2, 2, 2));
  EXPECT_EQ(result.plan.num_ranks(), 2);
}

TEST(Elastic, WithoutACheckpointItStartsAgain) {
  ScriptedWorld world{{.num_steps = 7, .lost = {3}}, {.num_steps = 10}};
  const ElasticResult result = run(world);
  EXPECT_THAT(world.starts, ElementsAre(0, 0));
  EXPECT_FALSE(result.restarts.front().start);
  EXPECT_THAT(losses(result), ::testing::Each(2.0));
}

TEST(Elastic, RanksThatAreLostOneAfterTheOtherAreDevicesOfTheFirstPlan) {
  ScriptedWorld world{
      {.num_steps = 3, .lost = {1}, .saved = 2}, {.num_steps = 3, .lost = {1, 2}, .saved = 4}, {.num_steps = 6}};
  const ElasticResult result = run(world);
  ASSERT_EQ(result.restarts.size(), 2U);
  EXPECT_THAT(result.restarts[1].lost, ElementsAre(DeviceIndex(2), DeviceIndex(3)));
  EXPECT_EQ(result.restarts[1].failed_step, 5);
  EXPECT_THAT(result.plan.device_of_rank, ElementsAre(DeviceIndex(0)));
}

TEST(Elastic, AnErrorThatNoRankDiedOfIsTriedOnceMoreUnderTheSamePlan) {
  ScriptedWorld world{{.num_steps = 5, .fails = true, .saved = 4}, {.num_steps = 6}};
  const ElasticResult result = run(world);
  EXPECT_TRUE(std::holds_alternative<Trace>(result.outcome)) << why(result);
  EXPECT_THAT(world.ranks, ElementsAre(4, 4));
  EXPECT_THAT(world.horizons, IsEmpty()) << "nothing was planned";
  EXPECT_THAT(result.restarts.front().lost, IsEmpty());
}

TEST(Elastic, TheSameStepEndsInAnErrorAgain) {
  ScriptedWorld world{{.num_steps = 5, .fails = true, .saved = 4}, {.num_steps = 1, .fails = true, .saved = 4}};
  EXPECT_EQ(why(run(world)), "step 5 ends in an error again, and no rank was lost: another plan would not help");
  EXPECT_THAT(world.starts, ElementsAre(0, 4));
}

TEST(Elastic, TheSameStepEndsInAnErrorAgainAlsoWhenARankWasLostInBetween) {
  ScriptedWorld world{{.num_steps = 5, .fails = true, .saved = 4},
                      {.num_steps = 1, .lost = {0}, .saved = 4},
                      {.num_steps = 1, .fails = true, .saved = 4}};
  EXPECT_THAT(why(run(world)), HasSubstr("step 5 ends in an error again"));
}

TEST(Elastic, AnErrorInALaterStepIsAnotherOne) {
  ScriptedWorld world{
      {.num_steps = 5, .fails = true, .saved = 4}, {.num_steps = 2, .fails = true, .saved = 6}, {.num_steps = 4}};
  EXPECT_TRUE(std::holds_alternative<Trace>(run(world).outcome));
}

TEST(Elastic, GivesUpWithoutARank) {
  ScriptedWorld world{{.num_steps = 5, .lost = {0, 1, 2, 3}, .saved = 4}};
  const ElasticResult result = run(world);
  EXPECT_EQ(why(result), "no rank is left");
  EXPECT_THAT(result.restarts, IsEmpty());
  EXPECT_EQ(world.num_told_restarts, 0);
}

TEST(Elastic, GivesUpWithoutAPlanAndSaysWhatThePlannerSays) {
  ScriptedWorld world{{.num_steps = 5, .lost = {0}, .saved = 4}};
  world.is_feasible = false;
  const ElasticResult result = run(world);
  EXPECT_EQ(why(result), "there is no plan for what is left");
  EXPECT_EQ(std::get<GaveUp>(result.outcome).infeasible->reason, "no world");
}

TEST(Elastic, GivesUpAfterSoManyRestarts) {
  ScriptedWorld world{{.num_steps = 1, .lost = {0}}};  // whatever is left
  const ElasticResult result = run(world, 2);
  EXPECT_EQ(why(result), "2 restarts are all that --max-restarts allows");
  EXPECT_THAT(world.ranks, ElementsAre(4, 3, 2));
  EXPECT_EQ(result.restarts.size(), 2U);
}

TEST(Elastic, AResumedRunGoesOnBehindItsOwnFirstStep) {
  ScriptedWorld world{{.num_steps = 2, .lost = {0}, .saved = 6}, {.num_steps = 4}};
  const ElasticResult result =
      train_elastically(plan_on({0, 1}), executor::StartPoint{.path = "step", .step = 6}, {.num_steps = kSteps}, world);
  EXPECT_EQ(result.restarts.front().failed_step, 8);
  EXPECT_THAT(losses(result), ElementsAre(2, 2, 2, 2));
  EXPECT_EQ(result.steps.front().step, 6);
}

}  // namespace
}  // namespace orrery::cli
