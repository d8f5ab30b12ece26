// SPDX-License-Identifier: Apache-2.0
#include "cli/step_report.h"

#include "base/units_format.h"
#include "cli/intervals.h"
#include "costmodel/power.h"
#include "planner/strategy_text.h"
#include "program/counts.h"
#include "program/mesh.h"
#include "program/names.h"
#include "traces/activities.h"
#include "traces/summary.h"

#include <optional>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace orrery::cli {
namespace {

constexpr Seconds kHour = 3600.0 * unit::second;

/// Peak rate of all devices; nothing when it is not known for this type.
std::optional<FlopsPerSecond> peak_rate(const Plan& plan) {
  const Device& device = plan.cluster.groups.front().device;
  const auto peak = device.peak.find(plan.strategy.precision);
  if (peak == device.peak.end()) return std::nullopt;
  return peak->second * static_cast<double>(plan.num_ranks());
}

void add_end_of_trace(Report& report, const Plan& plan, const Trace& trace) {
  add_model_notes(report, plan.model, plan.strategy.mtp);
  note_extrapolated(report, trace.header.extrapolated);
  for (const std::string& sentence : trace.header.notes) report.note(sentence);
}

}  // namespace

Value energy_of(const TraceSummary& summary) {
  if (summary.energy) return *summary.energy;
  return Value::unknown(summary.interpreter == "cpu" ? "no counter" : "not predicted");
}

void add_model(Report& report, const Model& model, Mtp mtp) {
  const ParameterCounts counts = parameter_counts(model);
  report.fact("model", "model", model.name)
      .fact("parameters", "parameters", counts.total)
      .fact("parameters_active", "active, all that a token meets", counts.active)
      .fact("parameters_active_no_input_embedding", "active, without input embedding", counts.active_no_input_embedding)
      .fact("parameters_active_no_embedding_no_head", "active, without embedding and head",
            counts.active_no_embedding_no_head);
  if (counts.buffers > 0) report.fact("router_bias_buffers", "of these, router bias buffers", counts.buffers);
  if (counts.mtp > 0) report.fact("parameters_mtp", "MTP modules (not in these)", counts.mtp);
  add_model_notes(report, model, mtp);
}

void add_model_notes(Report& report, const Model& model, Mtp mtp) {
  if (model.num_mtp_modules == 0 || mtp == Mtp::on) return;
  report.note(fmt::format("the {} multi-token-prediction module{} of {} {} left out: mtp is off", model.num_mtp_modules,
                          model.num_mtp_modules == 1 ? "" : "s", model.name,
                          model.num_mtp_modules == 1 ? "is" : "are"));
}

void add_workload(Report& report, const Plan& plan) {
  report.fact("cluster", "cluster", plan.cluster.name)
      .fact("devices", "devices", plan.num_ranks())
      .fact("sequence", "tokens of a sequence", plan.batch.seq)
      .fact("global_batch", "sequences of a step", plan.batch.global_batch);
  if (!is_fixed(plan.sequences)) report.fact("documents", "documents of a sequence", describe(plan.sequences));
}

void add_strategy(Report& report, const Plan& plan) {
  const Strategy& s = plan.strategy;
  const Mesh mesh(s, plan.num_ranks());
  if (s.tp > 1) report.fact("tp", s.sp ? "tensor parallel (tp), with sp" : "tensor parallel (tp)", s.tp);
  if (s.cp > 1) report.fact("cp", "context parallel (cp)", s.cp);
  report.fact("pp", "pipeline (pp)", s.pp);
  if (s.vpp > 1) report.fact("vpp", "stages of a rank (vpp)", s.vpp);
  if (s.etp > 1) report.fact("etp", "tensor parallel, experts (etp)", s.etp);
  report.fact("dp", "data parallel, dense (dp)", mesh.dp())
      .fact("ep", "expert parallel (ep)", s.ep)
      .fact("edp", "data parallel, experts (edp)", mesh.edp())
      .fact("zero", "ZeRO, dense / experts", fmt::format("{} / {}", s.zero_dense, s.zero_expert))
      .fact("micro_batch", "sequences of a micro-batch", s.micro_batch)
      .fact("num_micro_batches", "micro-batches of a step", plan.batch.global_batch / (mesh.dp() * s.micro_batch))
      .fact("schedule", "schedule", name_of(s.schedule))
      .fact("recompute", "recompute", planner::recompute_text(s))
      .fact("layout", "layers of the stages", planner::layout_text(s))
      .fact("precision", "precision", name_of(kFloatNames, s.precision));
  if (s.num_optimizer_instances > 1) {
    report.fact("num_optimizer_instances", "instances of the optimizer", s.num_optimizer_instances);
  }
  if (s.optimizer != OptimizerKind::adamw) {
    report.fact("optimizer", "optimizer", name_of(kOptimizerNames, s.optimizer));
  }
  if (s.order != Strategy().order) report.fact("order", "order of ranks on devices", s.order);
}

void add_step_time(Report& report, const Plan& plan, Seconds step_time) {
  const double tokens = static_cast<double>(plan.batch.seq * plan.batch.global_batch);
  const auto num_devices = static_cast<double>(plan.num_ranks());
  report.fact("step_time", "step time", step_time)
      .fact("tokens_per_second", "tokens/s", (tokens / step_time).in(unit::hertz))
      .fact("tokens_per_second_per_device", "tokens/s and device", (tokens / step_time).in(unit::hertz) / num_devices)
      .fact("device_hours", "device-hours", num_devices * (step_time / kHour));
  const FlopsPerToken flop = training_flops_per_token(plan.model, plan.batch.seq, plan.strategy.mtp);
  const std::optional<FlopsPerSecond> peak = peak_rate(plan);
  const auto mfu = [&](double flops_per_token) {
    if (!peak) return Value::unknown("unknown: the device states no peak for this type");
    return Value::percent(flops(flops_per_token * tokens) / step_time / *peak);
  };
  report.fact("mfu_causal", "MFU, causal", mfu(flop.causal))
      .fact("mfu_noncausal", "MFU, non-causal", mfu(flop.noncausal));
}

void add_cost(Report& report, const Plan& plan, const costmodel::StepCost& cost) {
  constexpr const char* kNoPower = "unknown: no power is stated";
  const double tokens = static_cast<double>(plan.batch.seq * plan.batch.global_batch);
  const auto or_unknown = [](const auto& x, const char* why) { return x ? Value(*x) : Value::unknown(why); };
  const auto of_million = [&](const std::optional<double>& of_step) {
    return of_step ? std::optional(*of_step / tokens * 1e6) : std::nullopt;
  };
  const bool knows_energy = cost.energy.has_value();
  report.fact("energy", "energy of a step", knows_energy ? Value(cost.energy->all()) : Value::unknown(kNoPower));
  if (knows_energy) {
    report.fact("energy_products", "of it products and attention", cost.energy->products)
        .fact("energy_streaming", "of it memory-bound ops", cost.energy->streaming)
        .fact("energy_communication", "of it communication that is waited for", cost.energy->communication)
        .fact("energy_waiting", "of it waiting for peers", cost.energy->waiting);
  }
  constexpr const char* kNoPrice = "unknown: no price is stated";
  const char* no_carbon = plan.cluster.kg_co2_per_kwh ? kNoPower : "unknown: no carbon intensity is stated";
  report
      .fact("energy_per_token", "energy of a token",
            knows_energy ? Value(cost.energy->all() / tokens) : Value::unknown(kNoPower))
      .fact("cost", "price of a step, USD", or_unknown(cost.usd, kNoPrice))
      .fact("cost_per_million_tokens", "price of a million tokens, USD", or_unknown(of_million(cost.usd), kNoPrice))
      .fact("kg_co2e", "carbon of a step, kg CO2e", or_unknown(cost.kg_co2e, no_carbon))
      .fact("kg_co2e_per_million_tokens", "carbon of a million tokens, kg CO2e",
            or_unknown(of_million(cost.kg_co2e), no_carbon));
  if (cost.energy && cost.assumed_power) {
    report.note(fmt::format(
        "energy: of the devices alone; where the calibration states no power, of a device's limit {:.0f} % for "
        "products at the full clock, {:.0f} % for memory-bound ops, {:.0f} % for communication and {:.0f} % for "
        "waiting",
        100.0 * costmodel::kProductsOfLimit, 100.0 * costmodel::kStreamingOfLimit,
        100.0 * costmodel::kCommunicationOfLimit, 100.0 * costmodel::kWaitingOfLimit));
  }
}

void add_trace(Report& report, const Plan& plan, const Trace& trace) {
  const TraceSummary summary = summarize(trace);
  report.fact("interpreter", "interpreter", trace.header.interpreter);
  add_step_time(report, plan, summary.step_time);
  report.fact("utilisation", "compute queue at work", Value::percent(compute_utilisation(trace)))
      .fact("energy", "energy of a step", energy_of(summary));
  add_end_of_trace(report, plan, trace);
}

void add_prediction(Report& report, const Plan& plan, const Trace& trace, const costmodel::Calibration& calibration) {
  ActivityCount work;
  work.add(trace, trace.spans);
  add_prediction(report, plan, trace, work, calibration);
}

void add_prediction(Report& report, const Plan& plan, const Trace& trace, const ActivityCount& work,
                    const costmodel::Calibration& calibration) {
  const Seconds step = median_step_time(trace);
  report.fact("interpreter", "interpreter", trace.header.interpreter);
  add_step_time(report, plan, step);
  add_time_interval(report, plan, step, trace.header.extrapolated, calibration);
  report.fact("utilisation", "compute queue at work", Value::percent(work.utilisation(trace)));
  add_cost(report, plan,
           costmodel::cost_of_step(plan.cluster, costmodel::power_of(plan.cluster.groups.front().device, calibration),
                                   step, work.mean(trace), plan.num_ranks()));
  add_end_of_trace(report, plan, trace);
}

void add_memory(Report& report, Bytes peak, const Device& device) {
  report.fact("peak_memory", "memory of the fullest rank", peak)
      .fact("device_memory", "memory of a device", device.memory ? Value(*device.memory) : Value::unknown());
}

void note_extrapolated(Report& report, const std::vector<std::string>& ops) {
  report.fact("extrapolated", "extrapolated", !ops.empty());
  if (ops.empty()) return;
  report.note(fmt::format("extrapolated: outside what was measured are the times of {}", fmt::join(ops, ", ")));
}

}  // namespace orrery::cli
