// SPDX-License-Identifier: Apache-2.0
#include "costmodel/lower_bound.h"

#include "costmodel/cached_cost_model.h"
#include "costmodel/forwarding_cost_model.h"
#include "costmodel/op_times.h"
#include "program/hf_config.h"
#include "program/legality.h"
#include "program/lower.h"
#include "program/names.h"
#include "program/schedule.h"
#include "tests/unit/costmodel/enlarged_cases.h"

#include <algorithm>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

/// Bound over analytic time of many cases.
struct Ratios {
  std::vector<double> all;

  double at(double share) {
    std::sort(all.begin(), all.end());
    return all.at(static_cast<std::size_t>(share * static_cast<double>(all.size() - 1)));
  }
};

/// How often cases have what bounds are told apart by.
struct Seen {
  std::map<Schedule, std::int64_t> schedules;
  std::int64_t long_pipelines = 0, many_chunks = 0, by_blocks = 0, graphs = 0, pairs = 0, in_slots = 0;

  void add(const Strategy& s) {
    ++schedules[s.schedule];
    long_pipelines += s.pp > 4 ? 1 : 0;
    many_chunks += s.vpp > 2 ? 1 : 0;
    by_blocks += s.precision == DType::fp8 && s.fp8_recipe == Fp8Recipe::blockwise ? 1 : 0;
    graphs += s.cuda_graphs ? 1 : 0;
    pairs += runs_pairs(s) && s.pp > 1 ? 1 : 0;
    in_slots += s.zero_dense > 1 || s.zero_expert > 1 ? 1 : 0;
  }

  void expect(std::int64_t least) const {
    EXPECT_EQ(schedules.size(), 8U);
    for (const auto& [schedule, count] : schedules) EXPECT_GE(count, least) << name_of(schedule);
    for (const std::int64_t count : {long_pipelines, many_chunks, by_blocks, graphs, pairs, in_slots}) {
      EXPECT_GE(count, least);
    }
  }
};

bool exchanges_in_slots(const Strategy& s) { return s.zero_dense > 1 || s.zero_expert > 1 || s.overlap.dp_buckets; }

// The property that everything which prunes rests on; the shares say how near the bound comes (docs/design).
TEST(LowerBound, IsAtMostTheAnalyticTimeOfRandomStrategies) {
  const CachedCostModel cached(testing::h800().cost);
  Ratios plain, others;
  Seen seen;
  testing::for_varied_cases(10000, [&](const testing::RandomCase& drawn, std::uint64_t index) {
    const testing::RandomCase c = testing::widened(testing::enlarged(drawn), index);
    seen.add(c.strategy);
    const StepProgram program = lower(c.model, c.strategy, c.batch, c.num_devices);
    const Seconds time = run_events(time_program(program, cached, testing::h800().cluster, {}, {}), false).makespan;
    const double ratio = lower_bound(c.model, c.strategy, c.batch, program.mesh, cached) / time;
    EXPECT_LE(ratio, 1.0 + 1e-12) << "case " << index;
    (exchanges_in_slots(c.strategy) || c.strategy.offload_activations ? others : plain).all.push_back(ratio);
  });
  seen.expect(200);
  for (const double share : {0.0, 0.05, 0.25, 0.5}) {
    RecordProperty("plain_" + std::to_string(share), std::to_string(plain.at(share)));
    RecordProperty("others_" + std::to_string(share), std::to_string(others.at(share)));
  }
  EXPECT_GT(plain.at(0.5), 0.98);
  EXPECT_GT(plain.at(0.05), 0.7);
  EXPECT_GT(others.at(0.5), 0.85);
}

/// The same without the enlargement: latencies and the host decide.
TEST(LowerBound, IsAtMostTheAnalyticTimeOfSmallModels) {
  const CachedCostModel cached(testing::h800().cost);
  testing::for_varied_cases(2000, [&](const testing::RandomCase& drawn, std::uint64_t index) {
    const testing::RandomCase c = testing::widened(drawn, index);
    const StepProgram program = lower(c.model, c.strategy, c.batch, c.num_devices);
    const Seconds time = run_events(time_program(program, cached, testing::h800().cluster, {}, {}), false).makespan;
    EXPECT_LE(lower_bound(c.model, c.strategy, c.batch, program.mesh, cached) / time, 1.0 + 1e-12) << index;
  });
}

/// Exchanges that send a token once hold half of the device, where the rule would have some other number.
class WideExchanges : public ForwardingCostModel {
 public:
  using ForwardingCostModel::ForwardingCostModel;
  std::optional<double> held_by(const ExchangeShape& shape, std::int64_t /*num_experts*/,
                                std::span<const DeviceIndex> /*members*/) const override {
    return shape.two_level ? std::optional(64.0) : std::nullopt;
  }
};

TEST(LowerBound, IsAtMostTheAnalyticTimeBesideWideExchanges) {
  const WideExchanges wide(testing::h800().cost);
  const CachedCostModel cached(wide), usual(testing::h800().cost);
  int longer = 0;
  testing::for_varied_cases(6000, [&](const testing::RandomCase& drawn, std::uint64_t index) {
    const testing::RandomCase c = testing::widened(testing::enlarged(drawn), index);
    if (c.strategy.dispatcher != Dispatcher::two_level || c.strategy.ep == 1) return;
    const StepProgram program = lower(c.model, c.strategy, c.batch, c.num_devices);
    const auto time = [&](const CostModel& cost) {
      return run_events(time_program(program, cost, testing::h800().cluster, {}, {}), false).makespan;
    };
    const Seconds beside_wide = time(cached);
    EXPECT_LE(lower_bound(c.model, c.strategy, c.batch, program.mesh, cached) / beside_wide, 1.0 + 1e-12) << index;
    longer += beside_wide / time(usual) > 1.0001 ? 1 : 0;
  });
  EXPECT_GT(longer, 10);
}

// A last stage without layers looks up the module's tokens while the only micro-batch is still on the first.
TEST(LowerBound, LetsAModuleEmbedItsTokensBeforeTheMessageIsThere) {
  const CachedCostModel cached(testing::h800().cost);
  const Model model = read_model(std::string(ORRERY_SOURCE_DIR) + "/catalog/models/deepseek-v3.json");
  ASSERT_EQ(model.num_mtp_modules, 1);
  const BatchShape batch{.seq = 4096, .global_batch = 8};
  constexpr std::int64_t kDevices = 16;
  for (const Schedule schedule : {Schedule::one_f_one_b, Schedule::zb_h1, Schedule::zb_h2}) {
    Strategy strategy{.pp = 2, .ep = 8, .mtp = Mtp::on};
    strategy.schedule = schedule;
    strategy.stages = {{.first_layer = 0, .num_layers = model.num_layers(), .embedding = true},
                       {.first_layer = model.num_layers(), .num_layers = 0, .head = true, .num_mtp = 1}};
    ASSERT_TRUE(violations(model, strategy, batch, kDevices).empty()) << name_of(kScheduleNames, schedule);
    const StepProgram program = lower(model, strategy, batch, kDevices);
    const Seconds time = run_events(time_program(program, cached, testing::h800().cluster, {}, {}), false).makespan;
    const double ratio = lower_bound(model, strategy, batch, program.mesh, cached) / time;
    EXPECT_LE(ratio, 1.0 + 1e-12) << name_of(kScheduleNames, schedule);
    EXPECT_GT(ratio, 0.98) << name_of(kScheduleNames, schedule);
  }
}

}  // namespace
}  // namespace orrery::costmodel
