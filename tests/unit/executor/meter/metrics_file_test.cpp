// SPDX-License-Identifier: Apache-2.0
#include "executor/meter/metrics_file.h"

#include "base/errors.h"

#include <regex>
#include <set>
#include <sstream>

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

RunMetrics some_metrics() {
  RunMetrics metrics{.model = "mixtral", .num_ranks = 4, .step_time = seconds(0.25), .totals = {}};
  metrics.totals.tokens = 4096;
  metrics.totals.restarts = 2;
  metrics.totals.energy = joules(12.5);
  metrics.totals.sent_bytes = {{{"ep", "moe.dispatch"}, 5'000'000'000}, {{"pp", "pp.send_act"}, 64}};
  return metrics;
}

TEST(MetricsFile, IsWhatPrometheusReads) {
  EXPECT_EQ(metrics_text(some_metrics()),
            "# HELP orrery_run_info What is trained.\n"
            "# TYPE orrery_run_info gauge\n"
            "orrery_run_info{model=\"mixtral\",ranks=\"4\"} 1\n"
            "# HELP orrery_step_seconds Time of the last step, from the common start to the end of the last rank.\n"
            "# TYPE orrery_step_seconds gauge\n"
            "orrery_step_seconds 0.25\n"
            "# HELP orrery_tokens_total Tokens trained by all ranks.\n"
            "# TYPE orrery_tokens_total counter\n"
            "orrery_tokens_total 4096\n"
            "# HELP orrery_restarts_total Restarts of the run after ranks were lost or failed.\n"
            "# TYPE orrery_restarts_total counter\n"
            "orrery_restarts_total 2\n"
            "# HELP orrery_energy_joules_total Energy of the CPU packages of this machine during steps (RAPL).\n"
            "# TYPE orrery_energy_joules_total counter\n"
            "orrery_energy_joules_total 12.5\n"
            "# HELP orrery_comm_bytes_total Payload that ranks sent to each other, by dimension and op.\n"
            "# TYPE orrery_comm_bytes_total counter\n"
            "orrery_comm_bytes_total{dim=\"ep\",op=\"moe.dispatch\"} 5000000000\n"
            "orrery_comm_bytes_total{dim=\"pp\",op=\"pp.send_act\"} 64\n");
}

TEST(MetricsFile, NoCounterIsNotZeroJoules) {
  RunMetrics metrics = some_metrics();
  metrics.totals.energy = std::nullopt;
  const std::string text = metrics_text(metrics);
  EXPECT_NE(text.find("\n# orrery_energy_joules_total: no counter\n"), std::string::npos) << text;
  EXPECT_EQ(text.find("TYPE orrery_energy_joules_total"), std::string::npos) << text;
}

// The grammar of text format 0.0.4: each line is HELP, TYPE, another comment or a sample; a sample's name has its TYPE
// before it; samples of a name stand together and differ in their labels.
TEST(MetricsFile, EveryLineIsInTheGrammarWhateverTheModelIsCalled) {
  RunMetrics metrics = some_metrics();
  metrics.model = "a \"quoted\"\nname with \\ in it";
  const std::regex comment(R"(# (HELP [a-z_]+ [^\n]+|TYPE ([a-z_]+) (counter|gauge)|[^HT][^\n]*))");
  const std::regex sample(
      R"re(([a-z_]+)(\{([a-z]+="([^"\\\n]|\\[\\"n])*")(,[a-z]+="([^"\\\n]|\\[\\"n])*")*\})? [0-9.e+-]+)re");
  std::set<std::string> typed, seen;
  std::string last;
  std::istringstream lines(metrics_text(metrics));
  for (std::string line; std::getline(lines, line);) {
    std::smatch parts;
    if (std::regex_match(line, parts, comment)) {
      if (parts[2].matched) {
        EXPECT_TRUE(typed.insert(parts[2]).second) << line;
      }
      continue;
    }
    ASSERT_TRUE(std::regex_match(line, parts, sample)) << line;
    EXPECT_TRUE(typed.contains(parts[1])) << line;
    EXPECT_TRUE(seen.insert(line.substr(0, line.rfind(' '))).second) << line;
    last = line;
  }
  EXPECT_EQ(typed.size(), 6U);
  EXPECT_EQ(escaped_label(metrics.model), "a \\\"quoted\\\"\\nname with \\\\ in it");
}

TEST(MetricsFile, TotalsAreReadAgain) {
  EXPECT_EQ(read_totals(metrics_text(some_metrics()), "x"), some_metrics().totals);
  const RunMetrics none{.model = "m", .num_ranks = 1, .step_time = std::nullopt, .totals = {}};
  EXPECT_EQ(read_totals(metrics_text(none), "x"), RunTotals());
}

TEST(MetricsFile, NamesEveryLineThatIsNotItsOwn) {
  const std::string good = metrics_text(some_metrics());
  const auto error = [&](const std::string& more) {
    try {
      read_totals(good + more, "x.prom");
    } catch (const ConfigError& failure) {
      return std::string(failure.what());
    }
    return std::string();
  };
  EXPECT_EQ(error("node_load1 0.5\norrery_tokens_total x\norrery_comm_bytes_total{dim=\"ep\"} 3\n"),
            "x.prom:20: expected a metric as orrery execute writes it, got: node_load1 0.5\n"
            "x.prom:21: expected a metric as orrery execute writes it, got: orrery_tokens_total x\n"
            "x.prom:22: expected a metric as orrery execute writes it, got: orrery_comm_bytes_total{dim=\"ep\"} 3");
  EXPECT_NE(error("orrery_tokens_total -1"), "");
  EXPECT_NE(error("orrery_energy_joules_total 1 2"), "");
}

}  // namespace
}  // namespace orrery::executor
