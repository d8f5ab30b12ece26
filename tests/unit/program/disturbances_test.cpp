// SPDX-License-Identifier: Apache-2.0
#include "program/disturbances.h"

#include "tests/conformance/programs.h"
#include "tests/unit/program/reading.h"

#include <cmath>

#include <gtest/gtest.h>

namespace orrery {
namespace {

using testing::problems_of;

std::string problems(const std::string& text) {
  return problems_of([&] { return read_disturbances_text(text, "d.json"); });
}

TEST(Disturbances, AreReadBackAsTheyWereWritten) {
  const std::string text =
      to_json(read_disturbances(testing::repository_path("tests/data/schemas/disturbances/good-all.json")));
  EXPECT_EQ(to_json(read_disturbances_text(text, "d.json")), text);
  const Disturbances read = read_disturbances_text(text, "d.json");
  EXPECT_EQ(read.stragglers.at(0).rank, 5);
  EXPECT_EQ(read.links.at(1).link, LinkClass::uplink);
  EXPECT_EQ(read.links.at(1).when.from, milliseconds(200));
  EXPECT_FALSE(read.links.at(0).when.until.has_value());
  EXPECT_TRUE(read.on_compute() && read.on_links());
  EXPECT_FALSE(Disturbances{}.on_compute() || Disturbances{}.on_links());
}

TEST(Disturbances, DoNotEndBeforeTheyBegin) {
  EXPECT_EQ(problems("{\"schema\": \"disturbances/1\",\n \"links\": [{\"link\": \"nic\", \"node\": 0, \"left\": 0, "
                     "\"from\": \"2 s\", \"until\": \"1 s\"}]}"),
            "d.json:2: /links/0: expected \"until\" to be later than \"from\"");
}

TEST(Disturbances, NameOneLinkOfTheKindThatTheyAreOn) {
  const auto of_link = [](const std::string& keys) {
    return problems("{\"schema\": \"disturbances/1\",\n \"links\": [{\"node\": 0, \"left\": 0, " + keys + "}]}");
  };
  EXPECT_EQ(of_link(R"("link": "nic", "nic": 2)"), "");
  EXPECT_EQ(of_link(R"("link": "uplink", "plane": 2)"), "");
  EXPECT_EQ(of_link(R"("link": "uplink", "nic": 2)"),
            "d.json:2: /links/0: expected \"nic\" with the link \"nic\" only");
  EXPECT_EQ(of_link(R"("link": "nic", "uplink": 2)"),
            "d.json:2: /links/0: expected \"plane\" and \"uplink\" with the link \"uplink\" only");
  EXPECT_EQ(of_link(R"("link": "uplink", "plane": 0, "uplink": 2)"),
            "d.json:2: /links/0: expected \"plane\" or \"uplink\", got both");
}

TEST(Disturbances, NameRanksAndNodesThatExist) {
  Cluster cluster = testing::small_cluster(2, 4);  // both nodes below one leaf, 4 NICs each
  const auto problem_of = [&](const Disturbances& disturbances) {
    return problems_of([&] {
      require_existing(disturbances, 8, cluster, "d.json");
      return 0;
    });
  };
  EXPECT_EQ(problem_of({.stragglers = {{.rank = 8}}}), "d.json: expected a rank below 8, got 8");
  EXPECT_EQ(problem_of({.links = {{.node = 2}}}), "d.json: expected a node below 2, got 2");
  EXPECT_EQ(problem_of({.traffic = {{.from_node = 0, .to_node = 5}}}), "d.json: expected a node below 2, got 5");
  cluster.fabric.oversubscription = 2.0;
  EXPECT_EQ(problem_of({.links = {{.node = 1, .nic = 3}, {.link = LinkClass::uplink, .uplink = 3}}}), "");
  EXPECT_EQ(problem_of({.links = {{.node = 1, .nic = 4},
                                  {.link = LinkClass::uplink, .uplink = 4},
                                  {.link = LinkClass::uplink, .plane = 1}}}),
            "d.json: expected a NIC of the node below 4, got 4\n"
            "d.json: expected an uplink of the leaf below 4, got 4\n"
            "d.json: expected a plane below 1, got 1");
}

TEST(Disturbances, LeaveSomethingOfTheNics) {
  const Cluster cluster = testing::small_cluster(3, 4);  // 100 GB/s a node
  const auto problem_of = [&](const Disturbances& disturbances) {
    return problems_of([&] {
      require_existing(disturbances, 8, cluster, "d.json");
      return 0;
    });
  };
  const auto traffic = [](std::int64_t from, std::int64_t to, double gigabytes, double begin = 0.0) {
    return ForeignTraffic{
        .from_node = from, .to_node = to, .rate = bytes_per_second(gigabytes * 1e9), .when = {seconds(begin), {}}};
  };
  EXPECT_EQ(problem_of({.traffic = {traffic(0, 1, 99)}}), "");
  EXPECT_EQ(problem_of({.traffic = {traffic(0, 1, 250)}}),
            "d.json: expected traffic of less than 100 GB/s, which is all NICs of node 0, from it, got 250 GB/s\n"
            "d.json: expected traffic of less than 100 GB/s, which is all NICs of node 1, to it, got 250 GB/s");
  EXPECT_EQ(problem_of({.traffic = {traffic(0, 2, 60), traffic(1, 2, 60, 0.5)}}),  // together, from then on
            "d.json: expected traffic of less than 100 GB/s, which is all NICs of node 2, to it, got 120 GB/s");
  EXPECT_EQ(problem_of({.traffic = {traffic(0, 1, 60), traffic(1, 2, 60)}}), "");
}

TEST(Disturbances, SlowDownTheRanksThatTheyName) {
  const Disturbances two{.stragglers = {{.rank = 1, .factor = 1.5}, {.rank = 1, .factor = 2.0}}};
  EXPECT_EQ(rank_factor(two, 0), 1.0);
  EXPECT_EQ(rank_factor(two, 1), 3.0);
  EXPECT_EQ(op_factor(two, 1, 7), 1.0);
}

TEST(Disturbances, DrawNoiseOfMeanOneAndTheStatedSpread) {
  const auto moments = [](const ComputeNoise& noise, bool over_ranks) {
    const Disturbances disturbances{.noise = noise};
    double sum = 0.0, squares = 0.0;
    constexpr std::uint32_t kDraws = 20000;
    for (std::uint32_t i = 0; i < kDraws; ++i) {
      const double factor = over_ranks ? rank_factor(disturbances, i) : op_factor(disturbances, 3, i);
      sum += factor;
      squares += std::log(factor) * std::log(factor);
    }
    return std::pair(sum / kDraws, std::sqrt(squares / kDraws));
  };
  for (const bool over_ranks : {false, true}) {
    const auto [mean, spread] =
        moments({.per_rank = over_ranks ? 0.1 : 0.0, .per_op = over_ranks ? 0.0 : 0.1, .seed = 4}, over_ranks);
    EXPECT_NEAR(mean, 1.0, 0.003);
    EXPECT_NEAR(spread, 0.1, 0.003);
  }
  const Disturbances first{.noise = {.per_op = 0.1, .seed = 1}}, second{.noise = {.per_op = 0.1, .seed = 2}};
  EXPECT_EQ(op_factor(first, 2, 9), op_factor(first, 2, 9));
  EXPECT_NE(op_factor(first, 2, 9), op_factor(second, 2, 9));
  EXPECT_NE(op_factor(first, 2, 9), op_factor(first, 3, 9));
}

}  // namespace
}  // namespace orrery
