// SPDX-License-Identifier: Apache-2.0
#include "cli/step_report.h"

#include "tests/conformance/programs.h"
#include "tests/unit/program/small_models.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::cli {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

Plan small_plan() {
  Plan plan;
  plan.model = testing::small_moe();
  plan.cluster = testing::small_cluster(1, 4);
  plan.batch = {.seq = 64, .global_batch = 16};
  plan.strategy = testing::small_strategy(plan.model);
  return plan;
}

TEST(StepReport, GivesBothConventionsOfMfu) {
  Plan plan = small_plan();
  plan.cluster.groups[0].device.peak[DType::bf16] = flops_per_second(1e9);
  Report report;
  add_step_time(report, plan, seconds(2));
  const std::string text = report.text();
  EXPECT_THAT(text, HasSubstr("tokens/s             512\n"));
  EXPECT_THAT(text, HasSubstr("tokens/s and device  128\n"));
  EXPECT_THAT(text, HasSubstr("device-hours         0.002222\n"));  // four devices for two seconds
  EXPECT_THAT(text, HasSubstr("MFU, causal "));
  EXPECT_THAT(text, HasSubstr("MFU, non-causal "));
  EXPECT_THAT(text, Not(HasSubstr("unknown")));
}

TEST(StepReport, KnowsNoMfuWithoutAPeak) {
  Report report;
  add_step_time(report, small_plan(), seconds(2));
  EXPECT_THAT(report.text(), HasSubstr("MFU, causal          unknown: the device states no peak for this type\n"));
  EXPECT_THAT(report.json(), HasSubstr("\"mfu_causal\": null"));
}

TEST(StepReport, SaysWhatIsLeftOutOfTheModel) {
  Model model = testing::small_moe();
  Report without;
  add_model(without, model);
  EXPECT_THAT(without.text(), Not(HasSubstr("multi-token")));
  model.num_mtp_modules = 1;
  Report with;
  add_model(with, model);
  EXPECT_THAT(with.text(),
              HasSubstr("note: the 1 multi-token-prediction module of small-moe is left out: mtp is off\n"));
  Report trained;
  add_model(trained, model, Mtp::on);
  EXPECT_THAT(trained.text(), Not(HasSubstr("multi-token")));
}

TEST(StepReport, ShowsDegreesThatAreNotPlain) {
  Plan plan = small_plan();
  Report plain;
  add_strategy(plain, plan);
  for (const char* key : {"(tp)", "(cp)", "(vpp)", "(etp)"}) EXPECT_THAT(plain.text(), Not(HasSubstr(key)));
  plan.strategy.tp = plan.strategy.cp = plan.strategy.vpp = plan.strategy.etp = 2;
  plan.strategy.sp = true;
  Report report;
  add_strategy(report, plan);
  for (const char* label : {"tensor parallel (tp), with sp", "context parallel (cp)", "stages of a rank (vpp)",
                            "tensor parallel, experts (etp)"}) {
    EXPECT_THAT(report.text(), HasSubstr(label));
  }
}

TEST(StepReport, NamesOpsThatAreExtrapolated) {
  Report report;
  note_extrapolated(report, {"attn.core", "moe.fc1"});
  EXPECT_EQ(report.text(),
            "  extrapolated  yes\n"
            "\n"
            "  note: extrapolated: outside what was measured are the times of attn.core, moe.fc1\n");
}

TEST(StepReport, CountsWorkOfRanksThatOthersStandFor) {
  Trace trace;
  trace.header.num_ranks = 4;
  trace.header.represents = {{0, 3}, {3, 1}};
  trace.steps.push_back({.time = seconds(10)});
  trace.spans.push_back({.rank = 0, .queue = Queue::compute, .start = seconds(0), .end = seconds(4)});
  trace.spans.push_back({.rank = 3, .queue = Queue::compute, .start = seconds(1), .end = seconds(9)});
  trace.spans.push_back({.rank = 3, .queue = Queue::dp, .start = seconds(9), .end = seconds(10)});
  EXPECT_DOUBLE_EQ(compute_utilisation(trace), (3 * 4.0 + 8.0) / 40.0);
}

/// A predicted step of two seconds, with these ops extrapolated, and an interval of the calibration.
std::string prediction_of(std::vector<std::string> extrapolated) {
  Trace trace;
  trace.header.interpreter = "analytic";
  trace.header.num_ranks = 1;
  trace.header.extrapolated = std::move(extrapolated);
  trace.steps.push_back({.time = seconds(2)});
  costmodel::Calibration calibration;
  calibration.interval = {.low = 0.5, .high = 1.5, .num_runs = 10};
  Report report;
  add_prediction(report, small_plan(), trace, calibration);
  return report.text();
}

TEST(StepReport, GivesTheIntervalOfThePrediction) {
  EXPECT_THAT(prediction_of({}), ContainsRegex("interval, to +3.00 s"));
  EXPECT_THAT(prediction_of({"dp.grad_rs", "moe.dispatch", "norm.reduce"}), ContainsRegex("interval, to +3.00 s"));
}

TEST(StepReport, KeepsTheIntervalWhereTheFormsNumbersAreKnown) {
  Trace trace;
  trace.header.extrapolated = {"moe.fc1"};
  trace.header.num_ranks = 1;
  trace.steps.push_back({.time = seconds(2)});
  costmodel::Calibration calibration;
  calibration.interval = {.low = 0.5, .high = 1.5, .num_runs = 10};
  const auto text = [&] {
    Report report;
    add_prediction(report, small_plan(), trace, calibration);
    return report.text();
  };
  EXPECT_THAT(text(), ContainsRegex("interval, to +4.50 s"));
  calibration.kernels.emplace();
  EXPECT_THAT(text(), ContainsRegex("interval, to +4.50 s"));  // numbers of a form that no point of the device says
  calibration.points = {{.op = "attention", .shape = AttentionShape{}, .source = "test"},
                        {.op = "memory", .shape = MemoryShape{}, .source = "test"}};
  EXPECT_THAT(text(), ContainsRegex("interval, to +4.50 s"));  // products are neither
  calibration.points.push_back({.op = "gemm", .shape = GemmShape{}, .source = "test"});
  EXPECT_THAT(text(), ContainsRegex("interval, to +3.00 s"));
  EXPECT_THAT(text(), ContainsRegex("extrapolated +yes"));
  trace.header.extrapolated = {"attn.core", "attn.norm"};
  EXPECT_THAT(text(), ContainsRegex("interval, to +3.00 s"));
  calibration.points.erase(calibration.points.begin());
  EXPECT_THAT(text(), ContainsRegex("interval, to +4.50 s"));  // no attention was measured
}

TEST(StepReport, WidensTheIntervalOnAnotherDeviceAndUnderAnotherLimit) {
  Trace trace;
  trace.header.num_ranks = 1;
  trace.steps.push_back({.time = seconds(2)});
  Plan plan = small_plan();
  Device& device = plan.cluster.groups[0].device;
  device.power_limit = 700.0 * unit::watt;
  costmodel::Calibration calibration;
  calibration.interval = {.low = 0.5, .high = 1.5, .num_runs = 10};
  calibration.device = device;
  const auto text = [&] {
    Report report;
    add_prediction(report, plan, trace, calibration);
    return report.text();
  };
  EXPECT_THAT(text(), ContainsRegex("interval, to +3.00 s"));
  device.power_limit = 500.0 * unit::watt;
  EXPECT_THAT(text(), ContainsRegex("interval, to +4.50 s"));
  device.power_limit = 700.0 * unit::watt;
  device.name = "another";
  EXPECT_THAT(text(), ContainsRegex("interval, to +4.50 s"));
}

TEST(StepReport, GivesMoeModelsTheirOwnIntervalWhereThereIsOne) {
  Trace trace;
  trace.header.num_ranks = 1;
  trace.steps.push_back({.time = seconds(2)});
  costmodel::Calibration calibration;
  calibration.interval = {.low = 0.5, .high = 1.5, .num_runs = 10};
  calibration.interval_moe = {.low = 0.5, .high = 2.0, .num_runs = 10};
  const auto prediction = [&](bool is_moe) {
    Plan plan = small_plan();
    if (!is_moe) {
      plan.model.moe.reset();
      for (LayerKind& layer : plan.model.layers) layer = LayerKind::dense;
    }
    Report report;
    add_prediction(report, plan, trace, calibration);
    return report.text();
  };
  ASSERT_TRUE(small_plan().model.moe);
  EXPECT_THAT(prediction(true), ContainsRegex("interval, to +4.00 s"));
  EXPECT_THAT(prediction(false), ContainsRegex("interval, to +3.00 s"));
}

TEST(StepReport, WidensTheIntervalForExtrapolatedKernels) {
  EXPECT_THAT(prediction_of({"dp.grad_rs", "moe.fc1"}), ContainsRegex("interval, from +500 ms"));
  EXPECT_THAT(prediction_of({"dp.grad_rs", "moe.fc1"}), ContainsRegex("interval, to +4.50 s"));
}

TEST(StepReport, SaysWhatDevicesDrawByWhatTheyDo) {
  Trace trace;
  trace.header.num_ranks = 1;
  trace.steps.push_back({.time = seconds(10)});
  const auto add = [&](OpCode op, Queue queue, double start, double end) {
    trace.spans.push_back({.key = {.op = op}, .queue = queue, .start = seconds(start), .end = seconds(end)});
  };
  add(OpCode::attn_core, Queue::compute, 0, 4);
  add(OpCode::attn_norm, Queue::compute, 4, 6);
  add(OpCode::moe_dispatch, Queue::ep, 5, 8);
  costmodel::Calibration calibration;
  const auto watts = [](double x) { return costmodel::Sourced<Watts>{.value = x * unit::watt, .source = "a meter"}; };
  calibration.power_limit = watts(1000);
  calibration.products_power = watts(100);
  calibration.streaming_power = watts(50);
  calibration.communication_power = watts(20);
  const auto text = [&] {
    Report report;
    add_prediction(report, small_plan(), trace, calibration);
    return report.text();
  };
  EXPECT_THAT(text(), ContainsRegex("20 % for waiting"));  // is assumed
  calibration.waiting_power = watts(10);
  EXPECT_THAT(text(), Not(HasSubstr("for waiting")));
  // Over four devices, each of which does the same.
  EXPECT_THAT(text(), ContainsRegex("energy of a step +2.24 kJ"));
  EXPECT_THAT(text(), ContainsRegex("of it products and attention +1.60 kJ"));
  EXPECT_THAT(text(), ContainsRegex("of it memory-bound ops +400 J"));
  EXPECT_THAT(text(), ContainsRegex("of it communication that is waited for +160 J"));
  EXPECT_THAT(text(), ContainsRegex("of it waiting for peers +80.0 J"));
}

// Ten seconds of four devices that wait at 100 W for 1024 tokens: 4 kJ.
TEST(StepReport, PricesAStepAndItsTokensAndSaysWhatIsNotStated) {
  Plan plan = small_plan();
  costmodel::StepCost cost;
  const auto report_of = [&] {
    Report report;
    add_cost(report, plan, cost);
    return report;
  };
  for (const char* key :
       {"energy", "energy_per_token", "cost", "cost_per_million_tokens", "kg_co2e", "kg_co2e_per_million_tokens"}) {
    EXPECT_THAT(report_of().json(), HasSubstr(std::string("\"") + key + "\": null"));
  }
  EXPECT_THAT(report_of().text(), ContainsRegex("energy of a token +unknown: no power is stated"));
  EXPECT_THAT(report_of().text(), ContainsRegex("price of a million tokens, USD +unknown: no price is stated"));
  EXPECT_THAT(report_of().text(), ContainsRegex("carbon of a step, kg CO2e +unknown: no carbon intensity is stated"));
  plan.cluster.usd_per_device_hour = 3.6;  // four devices for ten seconds: 4 cents
  plan.cluster.kg_co2_per_kwh = 0.36;      // 4 kJ are 1/900 kWh
  EXPECT_THAT(report_of().text(), ContainsRegex("carbon of a step, kg CO2e +unknown: no power is stated"));
  const costmodel::PowerModel power{.waiting = 100.0 * unit::watt, .limit = 700.0 * unit::watt};
  cost = costmodel::cost_of_step(plan.cluster, power, seconds(10), {}, 4);
  const std::string text = report_of().text(), json = report_of().json();
  EXPECT_THAT(text, ContainsRegex("energy of a token +3.91 J"));
  EXPECT_THAT(text, ContainsRegex("price of a step, USD +0.04\n"));
  EXPECT_THAT(text, ContainsRegex("price of a million tokens, USD +39.06\n"));
  EXPECT_THAT(text, ContainsRegex("carbon of a step, kg CO2e +0.0004\n"));
  EXPECT_THAT(text, ContainsRegex("carbon of a million tokens, kg CO2e +0.3906\n"));
  EXPECT_THAT(json, ContainsRegex("\"cost_per_million_tokens\": 39.0625"));
}

TEST(StepReport, TellsAMissingCounterFromAMissingPrediction) {
  EXPECT_EQ(energy_of({.interpreter = "cpu"}).text(), "no counter");
  EXPECT_EQ(energy_of({.interpreter = "analytic"}).text(), "not predicted");
  EXPECT_EQ(energy_of({.interpreter = "cpu", .energy = joules(2)}).text(), "2.00 J");
}

}  // namespace
}  // namespace orrery::cli
