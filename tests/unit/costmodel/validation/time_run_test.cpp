// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/time_run.h"

#include "program/json_parts.h"
#include "tests/unit/costmodel/validation/published.h"

#include <cmath>

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

TimedRun ready(const RunsFile& file, std::size_t i = 0) {
  return std::get<TimedRun>(timed_run(file, file.runs.at(i), testing::device_of_catalog));
}

KnownDevice of_tables(const std::string& device) {
  return {testing::table_of(device), *testing::device_of_catalog(device)};
}

TEST(TimedRun, TakesTheStepTimeOrWhatTheThroughputSays) {
  const RunsFile file = testing::published({"simumax-70c6e4a0", "nanotron_h100_bench-0"});
  EXPECT_EQ(ready(file, 0).measured, *file.runs[0].measured.step);
  const PublishedRun& nanotron = file.runs[1];
  const double tokens = static_cast<double>(nanotron.global_batch * nanotron.seq) / 8.0;
  EXPECT_NEAR(ready(file, 1).measured.in(unit::second), tokens / *nanotron.measured.tokens_per_second_per_gpu, 1e-9);
}

TEST(TimedRun, RefusesARunWithoutATimeAndADeviceThatNobodyKnows) {
  RunsFile file = testing::published({"simumax-70c6e4a0"});
  const auto reason = [&] {
    return std::get<NotModelled>(timed_run(file, file.runs[0], testing::device_of_catalog)).reason;
  };
  file.runs[0].gpu = "Z1000";
  EXPECT_EQ(reason(), "the catalog has no Z1000");
  file.runs[0].measured = {};
  EXPECT_EQ(reason(), "no step time");
}

TEST(TimedRun, PredictsAPublishedRunFromTablesWithin25Percent) {
  // Nothing in the table of a B200 comes from a training run.
  const RunsFile file = testing::published({"simumax-70c6e4a0"});
  const TimedRun run = ready(file);
  const double error = predict(run, of_tables("b200"), Knobs{}) / run.measured - 1.0;
  EXPECT_LT(std::abs(error), 0.25);
}

TEST(TimedRun, TakesLongerOnSlowerKernelsAndASlowerHost) {
  const RunsFile file = testing::published({"simumax-70c6e4a0"});
  const TimedRun run = ready(file);
  const KnownDevice device(Calibration{}, *testing::device_of_catalog("b200"));
  const auto with = [&](Knob knob, double factor) {
    Knobs knobs{};
    knobs[static_cast<std::size_t>(knob)] = std::log(factor);
    return predict(run, device, knobs);
  };
  const Seconds base = predict(run, device, Knobs{});
  EXPECT_GT(with(Knob::matmul, 0.5), 1.2 * base);
  EXPECT_GT(with(Knob::dispatch, 50.0), 1.5 * base);  // a millisecond for each kernel
}

TEST(TimedRun, RunsTheKernelsOfItsFramework) {
  const RunsFile file = testing::published({"simumax-70c6e4a0"});
  const KnownDevice device(Calibration{}, *testing::device_of_catalog("b200"));
  TimedRun run = ready(file);
  const Seconds fused = predict(run, device, Knobs{});
  run.plan.framework.loss_backward = 100.0;
  EXPECT_GT(predict(run, device, Knobs{}), 1.01 * fused);
  run.plan.framework.loss_backward = 1.0;
  run.plan.framework.attention = AttentionKernels::materialized;
  EXPECT_GT(predict(run, device, Knobs{}), 1.01 * fused);
}

TEST(TimedRun, ChargesNoGradientsWhereAdaptersAreTrained) {
  RunsFile file = testing::published({"simumax-70c6e4a0"});
  const Seconds all = predict(ready(file), of_tables("b200"), Knobs{});
  file.runs[0].task = "lora";
  const Seconds adapters = predict(ready(file), of_tables("b200"), Knobs{});
  EXPECT_LT(adapters, 0.85 * all);
  EXPECT_GT(adapters, 0.5 * all);
}

TEST(TimedRun, UsesTheBandwidthSeenInTheJobOnOneNode) {
  RunsFile file = testing::published({"nanotron_h100_bench-0"});
  file.runs[0].measured.bus_gigabytes_per_second = {{"all_gather", 100.0}};
  const TimedRun run = ready(file);
  ASSERT_EQ(run.links.size(), 1u);
  EXPECT_EQ(run.links[0].path, "node");
  EXPECT_DOUBLE_EQ(run.links[0].rate->in(unit::byte_per_second), 100e9);
}

TEST(TimedRun, PrefersTheJobsBandwidthToTheSizesOfATable) {
  RunsFile file = testing::published({"nanotron_h100_bench-0"});
  const auto with = [&](double rate) {
    file.runs[0].measured.bus_gigabytes_per_second = {
        {"all_gather", rate}, {"all_reduce", rate}, {"reduce_scatter", rate}};
    return predict(ready(file), of_tables("h100"), Knobs{});
  };
  const Seconds slow = with(2.0), fast = with(200.0);
  EXPECT_GT(slow, fast + 1.0 * unit::millisecond);
}

TEST(TimedRun, TakesTheTimeOfARingStepFromTheJobOverNodes) {
  RunsFile file = testing::published({"nanotron_h100_bench-0"});
  PublishedRun& run = file.runs[0];
  run.num_gpus = 64;
  run.dp *= 8;
  run.global_batch *= 8;
  run.measured.bus_gigabytes_per_second = {{"all_gather", 53.0}};
  const TimedRun timed = ready(file);
  // 63/64 GiB at 53 GB/s, less the 400 GB/s of the node's network, over 63 steps.
  const double wire = 63.0 / 64.0 * 1073741824.0;
  const double step = (wire / 53e9 - wire / 400e9) / 63.0;
  ASSERT_FALSE(timed.links.empty());
  for (const CollectiveFit& link : timed.links) {
    const double steps = link.op == "all_reduce" ? 2.0 : 1.0;
    EXPECT_NEAR(link.latency_per_peer->in(unit::second), steps * step, 1e-9) << link.op;
  }
}

}  // namespace
}  // namespace orrery::costmodel
