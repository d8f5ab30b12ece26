// SPDX-License-Identifier: Apache-2.0
#include "sim/worker_request.h"

#include "base/errors.h"
#include "tests/unit/sim/worker_plan.h"

#include <cstdint>
#include <memory>
#include <sstream>

#include <gtest/gtest.h>

namespace orrery::sim {
namespace {

WorkerRequest request_with(const RunInput& input) {
  return {.plan = orrery::testing::small_plan(), .calibration = "calibration.json", .input = input};
}

WorkerRequest sent_and_received(const WorkerRequest& request) {
  std::stringstream text;
  write_request(text, request);
  return read_request(text);
}

TEST(WorkerRequest, KeepsEveryOption) {
  const WorkerRequest received =
      sent_and_received(request_with({.num_steps = 3, .all_ranks = true, .all_replicas = true, .steps_only = true}));
  EXPECT_EQ(received.calibration, "calibration.json");
  EXPECT_EQ(received.input.num_steps, 3);
  EXPECT_TRUE(received.input.all_ranks);
  EXPECT_TRUE(received.input.all_replicas);
  EXPECT_TRUE(received.input.steps_only);
}

TEST(WorkerRequest, KeepsWhatTheAnswerHasToSay) {
  WorkerRequest request = request_with({.complete = false});
  EXPECT_FALSE(sent_and_received(request).use_of_links);
  request.use_of_links = true;
  EXPECT_TRUE(sent_and_received(request).use_of_links);
  EXPECT_FALSE(sent_and_received(request).input.complete);
  EXPECT_TRUE(sent_and_received(request_with({})).input.complete);
}

TEST(WorkerRequest, KeepsThePlanSoThatItLowersToTheSameProgram) {
  const WorkerRequest request = request_with({});
  const WorkerRequest received = sent_and_received(request);
  EXPECT_EQ(received.plan.device_of_rank, request.plan.device_of_rank);
  EXPECT_EQ(hash_of(orrery::testing::program_of(received.plan)), hash_of(orrery::testing::program_of(request.plan)));
}

TEST(WorkerRequest, KeepsThePlansOfOtherJobs) {
  WorkerRequest request = request_with({.all_ranks = true});
  request.plan.fidelity = Fidelities(Fidelity::l0, {{OpCode::moe_dispatch, Fidelity::l3}});
  request.others.push_back({.name = "other", .plan = orrery::testing::small_plan(), .calibration = "theirs.json"});
  request.others[0].plan.fidelity = Fidelity::l2;
  request.others[0].plan.device_of_rank = {DeviceIndex(8), DeviceIndex(9), DeviceIndex(10), DeviceIndex(11)};
  const WorkerRequest received = sent_and_received(request);
  ASSERT_EQ(received.others.size(), 1);
  EXPECT_EQ(received.others[0].name, "other");
  EXPECT_EQ(received.others[0].calibration, "theirs.json");
  EXPECT_EQ(received.others[0].plan.device_of_rank, request.others[0].plan.device_of_rank);
  EXPECT_EQ(received.others[0].plan.fidelity, Fidelities(Fidelity::l2));
  EXPECT_EQ(received.plan.fidelity, request.plan.fidelity);
  EXPECT_EQ(received.plan.device_of_rank, request.plan.device_of_rank);
}

TEST(WorkerRequest, KeepsTheSeedOfPaths) {
  WorkerRequest request = request_with({});
  EXPECT_EQ(sent_and_received(request).seed, std::nullopt);
  request.seed = 7;
  EXPECT_EQ(sent_and_received(request).seed, 7);
}

TEST(WorkerRequest, KeepsAnAssumedLoad) {
  const WorkerRequest received = sent_and_received(request_with({.load = DirichletLoad{.alpha = 0.7, .seed = 42}}));
  const auto& load = std::get<DirichletLoad>(received.input.load);
  EXPECT_EQ(load.alpha, 0.7);
  EXPECT_EQ(load.seed, 42);
}

TEST(WorkerRequest, KeepsPopularities) {
  PopularityLoad load;
  load.layers[0] = load.layers[1] = load.layers[2] = load.layers[3] = {1, 2, 3, 4, 5, 6, 7, 8};
  const WorkerRequest received =
      sent_and_received(request_with({.load = std::make_shared<const PopularityLoad>(load)}));
  EXPECT_EQ(std::get<std::shared_ptr<const PopularityLoad>>(received.input.load)->layers, load.layers);
}

TEST(WorkerRequest, KeepsTheDocumentsOfTheSequences) {
  const WorkerRequest fixed = sent_and_received(request_with({}));
  EXPECT_TRUE(is_fixed(fixed.input.sequences));
  const RecordedLengths lengths{.sequences = {{64, 64}, {100}}};
  const WorkerRequest received =
      sent_and_received(request_with({.sequences = std::make_shared<const RecordedLengths>(lengths)}));
  EXPECT_EQ(*std::get<std::shared_ptr<const RecordedLengths>>(received.input.sequences), lengths);
}

TEST(WorkerRequest, KeepsARecordedLoad) {
  RecordedLoad load;
  load.matrices[{1, 2, 3}] = {.group = 2, .num_experts = 4, .pairs = {1, 2, 3, 4, 5, 6, 7, 8}, .tokens = {3, 2, 4, 1}};
  const WorkerRequest received =
      sent_and_received(request_with({.load = std::make_shared<const RecordedLoad>(std::move(load))}));
  const auto& matrices = std::get<std::shared_ptr<const RecordedLoad>>(received.input.load)->matrices;
  ASSERT_EQ(matrices.size(), 1);
  const RoutingMatrix& matrix = matrices.at({1, 2, 3});
  EXPECT_EQ(matrix.group, 2);
  EXPECT_EQ(matrix.num_experts, 4);
  EXPECT_EQ(matrix.at(1, 3), 8);
  EXPECT_EQ(matrix.tokens_sent(1, 0), 4);
}

TEST(WorkerRequest, KeepsDisturbances) {
  Disturbances disturbances;
  disturbances.stragglers = {{.rank = 3, .factor = 1.5}};
  disturbances.noise = {.per_rank = 0.125, .per_op = 0.25, .seed = 7};
  disturbances.links = {{.link = LinkClass::uplink, .node = 2, .left = 0.5, .when = {.from = milliseconds(3)}}};
  std::stringstream text;
  write_request(text, request_with({.disturbances = disturbances}));
  EXPECT_EQ(to_json(read_request(text).input.disturbances), to_json(disturbances));
}

TEST(WorkerRequest, RefusesWhatIsNone) {
  std::istringstream text("{\"fidelity\": \"L7\"}\n");
  EXPECT_THROW(read_request(text), ConfigError);
  std::istringstream nothing;
  EXPECT_THROW(read_request(nothing), ConfigError);
}

TEST(WorkerRequest, RefusesAPlanThatWasCutOff) {
  std::stringstream text;
  write_request(text, request_with({}));
  std::istringstream half(text.str().substr(0, text.str().size() / 2));
  EXPECT_THROW(read_request(half), ConfigError);
}

}  // namespace
}  // namespace orrery::sim
