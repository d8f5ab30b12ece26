// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/time_run.h"

#include "costmodel/calibrated_cost_model.h"
#include "costmodel/collective_fit.h"
#include "costmodel/op_times.h"
#include "costmodel/timed_program.h"
#include "costmodel/validation/run_cluster.h"
#include "costmodel/validation/run_cost_model.h"
#include "costmodel/validation/time_intervals.h"
#include "program/legality.h"
#include "program/lower.h"

#include <algorithm>
#include <utility>

namespace orrery::costmodel {
namespace {

std::optional<Seconds> measured_step(const PublishedRun& run) {
  const MeasuredRun& measured = run.measured;
  if (measured.step) return measured.step;
  if (!measured.tokens_per_second_per_gpu) return std::nullopt;
  const double tokens = static_cast<double>(run.global_batch * run.seq) / static_cast<double>(run.num_gpus);
  return seconds(tokens / *measured.tokens_per_second_per_gpu);
}

// The buffer of nanotron's bandwidth test. With it the time of one step of a ring that follows from a job's all-gather,
// 0.27 to 0.30 ms on 64 and 128 GPUs, is also what a layer of the same jobs takes for each peer of its tensor-parallel
// group, from 2 to 32 ranks (docs/design/time-fit.md).
constexpr Bytes kTestBytes = gib(1);

/// What was seen inside the job. On one node it is the bandwidth of the links; over nodes the test waits for its ring
/// steps, as reported rates that fall as one over the ranks tell, and so do all collectives of the job.
std::vector<CollectiveFit> links_of(const PublishedRun& run, const Cluster& cluster) {
  std::vector<CollectiveFit> out;
  const NodeGroup& group = cluster.groups.front();
  const auto& reported = run.measured.bus_gigabytes_per_second;
  const auto ranks = static_cast<double>(run.num_gpus);
  const auto add = [&](std::string_view op, std::string_view path, std::optional<Seconds> per_peer,
                       std::optional<BytesPerSecond> rate) {
    out.push_back({.op = std::string(op),
                   .path = std::string(path),
                   .latency = per_peer ? std::optional(Seconds::zero()) : std::nullopt,
                   .latency_per_peer = per_peer,
                   .rate = rate,
                   .min_ranks = 2,
                   .max_ranks = run.num_gpus});
  };
  if (run.num_gpus <= group.devices_per_node) {
    for (const auto& [op, rate] : reported) add(op, "node", {}, bytes_per_second(rate * 1e9));
    return out;
  }
  const auto gathered = reported.find("all_gather");
  if (gathered == reported.end()) return out;
  const BytesPerSecond node = *group.nics->each * static_cast<double>(group.nics->per_node);
  const Bytes wire = kTestBytes * ((ranks - 1.0) / ranks);
  const Seconds step =
      std::max(wire / bytes_per_second(gathered->second * 1e9) - wire / node, Seconds::zero()) / (ranks - 1.0);
  for (const std::string_view path : {"node", "rail", "spine"}) {
    for (const std::string_view op : {"all_gather", "reduce_scatter", "send_recv"}) add(op, path, step, {});
    add("all_reduce", path, 2.0 * step, {});
  }
  return out;
}

// Blackwell multiplies fp4 at twice the rate of fp8, Blackwell Ultra at three times (data sheets). The last and some
// other layers stay in 8 or 16 bits.
constexpr double kFp4OverFp8 = 2.0, kFp4OverFp8Ultra = 3.0;

}  // namespace

std::variant<TimedRun, NotModelled> timed_run(const RunsFile& file, const PublishedRun& run,
                                              const DeviceLookup& device_of) {
  const std::optional<Seconds> measured = measured_step(run);
  if (!measured) return NotModelled{"no step time"};
  auto read = plan_of(file, run);
  if (const auto* refused = std::get_if<NotModelled>(&read)) return *refused;
  TimedRun out;
  out.run = &run;
  out.plan = std::get<RunPlan>(std::move(read));
  out.measured = *measured;
  const std::optional<Device> device = out.plan.device.empty() ? std::nullopt : device_of(out.plan.device);
  if (!device) return NotModelled{"the catalog has no " + run.gpu};
  const auto broken = violations(out.plan.model, out.plan.strategy, out.plan.batch, out.plan.num_devices);
  if (!broken.empty()) return NotModelled{reason_of(broken.front())};
  out.cluster = cluster_of(run, *device);
  if (out.plan.casts_inside_products) out.plan.strategy.precision = DType::fp8;
  if (out.plan.multiplies_fp4) {
    Device& of_run = out.cluster.groups.front().device;
    if (const auto fp8 = of_run.peak.find(DType::fp8); fp8 != of_run.peak.end()) {
      fp8->second = fp8->second * (out.plan.device.ends_with("b300") ? kFp4OverFp8Ultra : kFp4OverFp8);
    }
  }
  out.links = links_of(run, out.cluster);
  out.program =
      std::make_shared<StepProgram>(lower(out.plan.model, out.plan.strategy, out.plan.batch, out.plan.num_devices));
  return out;
}

KnownDevice::KnownDevice(Calibration calibration, const Device& device) : numbers(std::move(calibration)) {
  if (!numbers.kernels) numbers.kernels.emplace();
  measured = std::make_shared<MeasuredKernels>(numbers, device);
  has_unknown_kernels = !tells_of(numbers, OpCode::mlp_fc1) || !tells_of(numbers, OpCode::attn_core);
  if (numbers.fits.empty()) numbers.fits = fitted(numbers.collectives);
  numbers.points.clear();
}

Seconds predict(const TimedRun& run, const KnownDevice& device, const Knobs& knobs) {
  Calibration with_links = device.numbers;
  with_links.kernels = with_kernels_of(run.plan.framework, *with_links.kernels);
  with_links.factors = knobs;
  for (const CollectiveFit& link : run.links) {
    auto& fits = with_links.fits;
    if (link.rate) {  // the job's rate, not that of each size of a table
      std::erase_if(with_links.collectives,
                    [&](const auto& point) { return point.op == link.op && point.path == link.path; });
    }
    const auto same = std::find_if(
        fits.begin(), fits.end(), [&](const CollectiveFit& fit) { return fit.op == link.op && fit.path == link.path; });
    if (same == fits.end()) {
      fits.push_back(link);
    } else {
      if (link.rate) same->rate = link.rate;
      if (link.latency_per_peer) {
        same->latency = link.latency;
        same->latency_per_peer = link.latency_per_peer;
      }
    }
  }
  const CalibratedCostModel model(run.cluster, with_links, run.plan.strategy.fp8_recipe, device.measured);
  const RunCostModel of_run(model, run.plan);
  return run_step(time_program(*run.program, of_run, run.cluster, {}, {.steps_only = true}), false).makespan;
}

}  // namespace orrery::costmodel
