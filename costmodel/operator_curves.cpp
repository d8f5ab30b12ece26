// SPDX-License-Identifier: Apache-2.0
#include "costmodel/operator_curves.h"

#include "base/check.h"
#include "base/errors.h"
#include "costmodel/expert_passes.h"
#include "costmodel/operand_casts.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace orrery::costmodel {
namespace {

const KernelParameters kNoDevice;

Pass measured_pass(Pass pass) { return pass == Pass::rec ? Pass::fwd : pass; }

Flops products(double m, double n, double k) { return flops(2.0 * m * n * k); }

/// Rows of each expert; in equal parts where no router is known.
std::vector<double> rows_of(const GroupedGemmShape& s, const ResolvedLoad& load) {
  if (!load.rows_per_expert.empty()) return load.rows_per_expert;
  return std::vector<double>(static_cast<std::size_t>(s.num_experts),
                             static_cast<double>(s.rows.count) / static_cast<double>(s.num_experts));
}

[[noreturn]] void not_calibrated(std::string_view op, Pass pass, const Device& device, std::string_view rate) {
  throw ConfigError(
      fmt::format("not calibrated: expected a point of {} ({}) in the calibration, or {} of device \"{}\"", op,
                  name_of(pass), rate, device.name),
      "orrery calibrate measures this machine");
}

struct TypeOf {
  std::optional<DType> operator()(const GemmShape& s) const { return s.dtype; }
  std::optional<DType> operator()(const GroupedGemmShape& s) const { return s.dtype; }
  std::optional<DType> operator()(const AttentionShape& s) const { return s.dtype; }
  template <class Other>
  std::optional<DType> operator()(const Other&) const {
    return std::nullopt;
  }
};

/// The least time that the hardware allows. CPU ranks keep operands in caches, so their memory is no bound.
Seconds hardware_bound(const OpShape& shape, const Work& work, const Device& device, bool tf32) {
  Seconds bound;
  if (const std::optional<DType> dtype = std::visit(TypeOf{}, shape)) {
    if (const auto peak = peak_rate(device, *dtype, tf32)) bound = work.flops / *peak;
  }
  if (device.memory_bandwidth && device.kind != DeviceKind::cpu) {
    bound = std::max(bound, (work.read + work.written) / *device.memory_bandwidth);
  }
  return bound;
}

}  // namespace

OperatorCurves::OperatorCurves(const Calibration& calibration, std::shared_ptr<const MeasuredKernels> measured,
                               Fp8Recipe recipe)
    : measured_(std::move(measured)),
      kernels_(kernels_in_training(calibration)),
      power_limit_(calibration.conditions.power_limit),
      recipe_(recipe) {
  if (calibration.launch_gap) launch_gap_ = calibration.launch_gap->value;
}

KernelModel OperatorCurves::form(const Device& device, double taken) const {
  KernelModel::State state{.taken = taken, .recipe = recipe_};
  if (!kernels_) return {device, kNoDevice, state};
  const bool is_capped = power_limit_ && device.power_limit;
  if (is_capped) state.clock = clock_under_power_limit(*device.power_limit, *power_limit_);
  return {device, *kernels_, state};
}

template <class Measured>
std::optional<OpTime> OperatorCurves::by_form(const std::optional<Seconds>& time,
                                              const std::optional<Measured>& measured) const {
  if (!time || (measured && !measured_->over_form())) return std::nullopt;
  // A pass that was not measured is left to the form: what the forward's kernels reach says nothing of others.
  const bool corrected = measured && measured->exact;
  const bool inside = corrected && kernels_ && measured->inside;
  return OpTime{.time = corrected ? *time * measured->value : *time, .extrapolated = !inside};
}

std::optional<double> OperatorCurves::slowdown(double held, const OpKey& key, const OpShape& shape,
                                               const ResolvedLoad& load, const Device& device) const {
  if (!kernels_ || !device.num_sms || device.kind == DeviceKind::cpu) return std::nullopt;
  const Pass pass = measured_pass(key.pass);
  const auto time_with = [&](double taken) -> std::optional<Seconds> {
    const KernelModel model = form(device, taken);
    if (const auto* s = std::get_if<GemmShape>(&shape)) {
      const double rows[] = {static_cast<double>(s->m)};
      return model.product(pass, rows, s->n, s->k, s->dtype, s->accumulate);
    }
    if (const auto* g = std::get_if<GroupedGemmShape>(&shape)) {
      return model.product(pass, rows_of(*g, load), g->n, g->k, g->dtype, g->accumulate);
    }
    if (const auto* a = std::get_if<AttentionShape>(&shape)) {
      return model.attention(pass, *a, work_of(key, shape, load));
    }
    return std::nullopt;
  };
  const auto alone = time_with(0.0), beside = time_with(missing_multiprocessors(*kernels_, held));
  if (!alone || !beside) return std::nullopt;
  return *beside / *alone - 1.0;
}

std::optional<double> OperatorCurves::slowdown_beside(double held, const OpKey& key, const OpShape& shape,
                                                      const ResolvedLoad& load, const Device& device) const {
  if (!kernels_ || kernels_->exchange_holds || held <= kHeldMultiprocessors) return std::nullopt;
  const auto usual = slowdown(kHeldMultiprocessors, key, shape, load, device);
  if (!usual) return std::nullopt;
  return std::max(*usual, *slowdown(held, key, shape, load, device));
}

OpTime OperatorCurves::gemm(const OpKey& key, const GemmShape& s, const Device& device) const {
  const Pass pass = measured_pass(key.pass);
  const auto m = static_cast<double>(s.m), n = static_cast<double>(s.n), k = static_cast<double>(s.k);
  const double rows[] = {m};
  // Points of f32 say nothing of tensor cores.
  const bool in_tf32 = kernels_ && kernels_->tf32 && s.dtype == DType::f32;
  const auto measured = in_tf32 ? std::nullopt : measured_->gemm(name_of(key.op), pass, s.dtype, m, n, k);
  const auto form_time = form(device).product(pass, rows, s.n, s.k, s.dtype, s.accumulate);
  if (const auto time = by_form(form_time, measured)) return *time;
  if (!measured) not_calibrated("gemm", pass, device, fmt::format("the {} peak rate", name_of(s.dtype)));
  return {.time = seconds(measured->value * products(m, n, k).in(unit::flop)),
          .extrapolated = !measured->exact || !measured->inside};
}

OpTime OperatorCurves::grouped_gemm(Pass pass, const GroupedGemmShape& s, const ResolvedLoad& load,
                                    const Device& device) const {
  const auto n = static_cast<double>(s.n), k = static_cast<double>(s.k);
  const std::vector<double> expert_rows = rows_of(s, load);
  const auto measured_at = [&](double rows) {
    const auto as_one = measured_->grouped_gemm(pass, s, rows);
    if (as_one) return as_one;
    auto alone = measured_->gemm("gemm", pass, s.dtype, rows, n, k);
    if (alone) alone->exact = false;
    return alone;
  };
  const double mean = std::accumulate(expert_rows.begin(), expert_rows.end(), 0.0) / static_cast<double>(s.num_experts);
  // A table has no point below one row.
  const auto measured = measured_at(std::max(mean, 1.0));
  const auto form_time = form(device).product(pass, expert_rows, s.n, s.k, s.dtype, s.accumulate);
  if (const auto time = by_form(form_time, measured)) return *time;
  if (!measured) not_calibrated("grouped_gemm", pass, device, fmt::format("the {} peak rate", name_of(s.dtype)));
  OpTime total{.time = {}, .extrapolated = !measured->exact};
  double last_rows = 0.0;
  Seconds last_time;
  for (const double rows : expert_rows) {
    if (rows != last_rows) {  // a balanced router asks once
      const auto per_flop = measured_at(std::max(rows, 1.0));
      total.extrapolated = total.extrapolated || !per_flop->inside;
      last_time = seconds(per_flop->value * products(rows, n, k).in(unit::flop));
    }
    last_rows = rows;
    total.time += last_time;
  }
  return total;
}

OpTime OperatorCurves::attention(const OpKey& key, const AttentionShape& s, double share, const Device& device) const {
  const Pass pass = measured_pass(key.pass);
  // Documents leave a share of the pairs. Per pair they are taken to cost what those of whole sequences do.
  const Work work = work_of(key, s, {.attention_share = share});
  const auto measured = measured_->attention(pass, s);
  const bool whole = s.window == 0 && share == 1.0;  // as points are
  if (auto time = by_form(form(device).attention(pass, s, work), measured)) {
    time->extrapolated = time->extrapolated || !whole;
    return *time;
  }
  if (!measured) not_calibrated("attention", pass, device, fmt::format("the {} peak rate", name_of(s.dtype)));
  return {.time = seconds(measured->value * work.flops.in(unit::flop)),
          .extrapolated = !(measured->exact && measured->inside && whole)};
}

OpTime OperatorCurves::memory_bound(const OpKey& key, Bytes traffic, const Device& device) const {
  if (traffic <= Bytes::zero()) return {};
  const Pass pass = measured_pass(key.pass);
  if (kernels_ && key.op == OpCode::head_loss) {
    traffic *= pass == Pass::fwd ? kernels_->loss_forward : kernels_->loss_backward;
  }
  const auto measured = measured_->memory_bound(name_of(key.op), pass, traffic);
  if (const auto time = by_form(form(device).memory_bound(traffic), measured)) return *time;
  if (!measured) not_calibrated(name_of(key.op), pass, device, "the memory bandwidth");
  return {.time = seconds(measured->value), .extrapolated = !measured->inside || !measured->exact};
}

Seconds OperatorCurves::casts(const OpKey& key, const OpShape& shape, const ResolvedLoad& load,
                              const Device& device) const {
  if (!kernels_ || device.kind == DeviceKind::cpu || !multiplies_fp8(shape)) return {};
  const CastTraffic traffic = cast_traffic(key, shape, work_of(key, shape, load), *kernels_);
  if (traffic.bytes == Bytes::zero()) return {};
  const KernelModel model = form(device);
  return traffic.own_kernel ? model.memory_bound(traffic.bytes).value_or(Seconds{})
                            : model.moved_besides(traffic.bytes);
}

OpTime OperatorCurves::kernel_of(const OpKey& key, const OpShape& shape, const ResolvedLoad& load,
                                 const Device& device) const {
  if (kernels_ && kernels_->fused_experts && key.op == OpCode::moe_act) return {};
  const Pass pass = measured_pass(key.pass);
  const Work work = work_of(key, shape, load);
  OpTime time;
  if (const auto* gemm_shape = std::get_if<GemmShape>(&shape)) {
    time = gemm(key, *gemm_shape, device);
  } else if (const auto* grouped = std::get_if<GroupedGemmShape>(&shape)) {
    time = grouped_gemm(pass, *grouped, load, device);
  } else if (const auto* attention_shape = std::get_if<AttentionShape>(&shape)) {
    time = attention(key, *attention_shape, load.attention_share, device);
  } else {
    CHECK(std::holds_alternative<MemoryShape>(shape), to_string(key));
    time = memory_bound(key, work.read + work.written, device);
  }
  time.time = std::max(time.time, hardware_bound(shape, work, device, kernels_ && kernels_->tf32)) + launch_gap_;
  return time;
}

OpTime OperatorCurves::time_of(const OpKey& key, const OpShape& shape, const ResolvedLoad& load,
                               const Device& device) const {
  OpTime time = kernel_of(key, shape, load, device);
  time.time += casts(key, shape, load, device);
  if (kernels_ && device.kind != DeviceKind::cpu) {
    const Bytes traffic = expert_traffic(key, shape, load, *kernels_);
    if (traffic > Bytes::zero()) time.time += form(device).moved_besides(traffic);
  }
  if (kernels_) {
    time.slowdown = slowdown(kernels_->exchange_holds.value_or(kHeldMultiprocessors), key, shape, load, device);
  }
  return time;
}

}  // namespace orrery::costmodel
