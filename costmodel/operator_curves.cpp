// SPDX-License-Identifier: Apache-2.0
#include "costmodel/operator_curves.h"

#include "base/check.h"
#include "base/errors.h"

#include <algorithm>
#include <optional>

#include <fmt/format.h>

namespace orrery::costmodel {
namespace {

// Fractions of a device's peak rate where nothing was measured, all for a B200 of SimuMax (docs/design/operators.md):
// the median of 514 GEMM shapes, grouped GEMM with 512 rows for each expert, and the bandwidth of streaming ops.
constexpr double kGemmFraction = 0.485;
constexpr double kGroupedForwardFraction = 0.367, kGroupedInputGradFraction = 0.405, kGroupedWeightGradFraction = 0.219;
constexpr double kMemoryFraction = 0.666;
// The low end of FlashAttention-2 on A100.
constexpr double kAttentionFraction = 0.5;

double grouped_fraction(Pass pass) {
  if (pass == Pass::wgrad) return kGroupedWeightGradFraction;
  return pass == Pass::igrad ? kGroupedInputGradFraction : kGroupedForwardFraction;
}

Pass measured_pass(Pass pass) { return pass == Pass::rec ? Pass::fwd : pass; }

Flops products(double m, double n, double k) { return flops(2.0 * m * n * k); }

OpKey key_of(Pass pass) { return {.pass = pass}; }

std::optional<FlopsPerSecond> peak_of(const Device& device, DType dtype) {
  const auto found = device.peak.find(dtype);
  return found == device.peak.end() ? std::nullopt : std::optional(found->second);
}

[[noreturn]] void not_calibrated(std::string_view op, Pass pass, const Device& device, std::string_view rate) {
  throw ConfigError(
      fmt::format("not calibrated: expected a point of {} ({}) in the calibration, or {} of device \"{}\"", op,
                  name_of(pass), rate, device.name),
      "orrery calibrate measures this machine");
}

/// The curve of a (pass, ...), else that of the forward.
template <class Map, class Kind>
const ScatteredCurve* stand_in(const Map& curves, const Kind& kind, bool& exact) {
  const auto found = curves.find(kind);
  exact = found != curves.end();
  if (exact) return &found->second;
  Kind forward = kind;
  std::get<0>(forward) = Pass::fwd;
  const auto other_pass = curves.find(forward);
  return other_pass == curves.end() ? nullptr : &other_pass->second;
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
Seconds hardware_bound(const OpShape& shape, const Work& work, const Device& device) {
  Seconds bound;
  if (const std::optional<DType> dtype = std::visit(TypeOf{}, shape)) {
    if (const auto peak = peak_of(device, *dtype)) bound = work.flops / *peak;
  }
  if (device.memory_bandwidth && device.kind != DeviceKind::cpu) {
    bound = std::max(bound, (work.read + work.written) / *device.memory_bandwidth);
  }
  return bound;
}

}  // namespace

OperatorCurves::OperatorCurves(const Calibration& calibration) {
  if (calibration.launch_gap) launch_gap_ = calibration.launch_gap->value;
  for (const OpPoint& point : calibration.points) {
    const auto per_flop = [&](Flops work) { return point.time.in(unit::second) / work.in(unit::flop); };
    if (const auto* s = std::get_if<GemmShape>(&point.shape)) {
      const auto m = static_cast<double>(s->m), n = static_cast<double>(s->n), k = static_cast<double>(s->k);
      gemms_[point.op][{point.pass, point.dtype}].add({m, n, k}, per_flop(products(m, n, k)));
    } else if (const auto* g = std::get_if<GroupedGemmShape>(&point.shape)) {
      const auto rows = static_cast<double>(g->rows.count), experts = static_cast<double>(g->num_experts);
      const auto n = static_cast<double>(g->n), k = static_cast<double>(g->k);
      grouped_gemms_[{point.pass, point.dtype}].add({experts, rows / experts, n, k}, per_flop(products(rows, n, k)));
    } else if (const auto* a = std::get_if<AttentionShape>(&point.shape)) {
      const Work work = work_of(key_of(point.pass), point.shape, {});
      attentions_[{point.pass, point.dtype, a->causal}].add(
          {static_cast<double>(a->batch * a->heads), static_cast<double>(a->seq),
           static_cast<double>(a->d_qk + a->d_v)},
          per_flop(work.flops));
    } else {
      const Work work = work_of(key_of(point.pass), point.shape, {});
      LinearCurve& curve = point.op == "memory" ? generic_memory_bound_ : memory_bound_[{point.op, point.pass}];
      curve.add(work.read + work.written, point.time);
    }
  }
}

const ScatteredCurve* OperatorCurves::gemm_curve(std::string_view op, const Kind& kind, bool& exact) const {
  for (const std::string_view name : {op, std::string_view("gemm")}) {
    const auto found = gemms_.find(name);
    const ScatteredCurve* curve = found == gemms_.end() ? nullptr : stand_in(found->second, kind, exact);
    if (curve) return curve;
  }
  return nullptr;
}

OpTime OperatorCurves::gemm(const OpKey& key, const GemmShape& s, const Device& device) const {
  const Pass pass = measured_pass(key.pass);
  const auto m = static_cast<double>(s.m), n = static_cast<double>(s.n), k = static_cast<double>(s.k);
  bool exact = false;
  if (const ScatteredCurve* curve = gemm_curve(name_of(key.op), {pass, s.dtype}, exact)) {
    const ScatteredCurve::Value per_flop = curve->at({m, n, k});
    return {.time = seconds(per_flop.value * products(m, n, k).in(unit::flop)),
            .extrapolated = !exact || !per_flop.inside};
  }
  const auto peak = peak_of(device, s.dtype);
  if (!peak) not_calibrated("gemm", pass, device, fmt::format("the {} peak rate", name_of(s.dtype)));
  return {.time = products(m, n, k) / (kGemmFraction * *peak), .extrapolated = true};
}

OpTime OperatorCurves::grouped_gemm(Pass pass, const GroupedGemmShape& s, const ResolvedLoad& load,
                                    const Device& device) const {
  const auto n = static_cast<double>(s.n), k = static_cast<double>(s.k);
  const auto experts = static_cast<double>(s.num_experts);
  bool exact = false;
  const ScatteredCurve* curve = stand_in(grouped_gemms_, Kind{pass, s.dtype}, exact);
  bool exact_gemm = false;
  const ScatteredCurve* product = curve ? nullptr : gemm_curve("gemm", {pass, s.dtype}, exact_gemm);
  const auto peak = peak_of(device, s.dtype);
  if (!curve && !product && !peak) {
    not_calibrated("grouped_gemm", pass, device, fmt::format("the {} peak rate", name_of(s.dtype)));
  }
  OpTime total{.time = {}, .extrapolated = !exact};
  const auto add_expert = [&](double rows) -> Seconds {
    const Flops work = products(rows, n, k);
    const double measured_rows = std::max(rows, 1.0);  // a table has no point below one row
    if (!curve && !product) return work / (grouped_fraction(pass) * *peak);
    const ScatteredCurve::Value per_flop =
        curve ? curve->at({experts, measured_rows, n, k}) : product->at({measured_rows, n, k});
    total.extrapolated = total.extrapolated || !per_flop.inside;
    return seconds(per_flop.value * work.in(unit::flop));
  };
  if (load.rows_per_expert.empty()) {
    total.time = experts * add_expert(static_cast<double>(s.rows.count) / experts);
    return total;
  }
  double last_rows = 0.0;
  Seconds last_time;
  for (double rows : load.rows_per_expert) {
    if (rows != last_rows) last_time = add_expert(rows);  // a balanced router asks once
    last_rows = rows;
    total.time += last_time;
  }
  return total;
}

OpTime OperatorCurves::attention(const OpKey& key, const AttentionShape& s, double share, const Device& device) const {
  const Pass pass = measured_pass(key.pass);
  // Documents leave a share of the pairs. Per pair they are taken to cost what those of whole sequences do.
  const Flops work = work_of(key, s, {.attention_share = share}).flops;
  bool exact = false;
  const ScatteredCurve* curve = stand_in(attentions_, AttentionKind{pass, s.dtype, s.causal}, exact);
  if (!exact) {
    bool other_exact = false;
    // The same pass without or with the mask is nearer than another pass.
    const ScatteredCurve* other = stand_in(attentions_, AttentionKind{pass, s.dtype, !s.causal}, other_exact);
    if (other_exact || !curve) curve = other;
  }
  if (!curve) {
    const auto peak = peak_of(device, s.dtype);
    if (!peak) not_calibrated("attention", pass, device, fmt::format("the {} peak rate", name_of(s.dtype)));
    return {.time = work / (kAttentionFraction * *peak), .extrapolated = true};
  }
  const ScatteredCurve::Value per_flop = curve->at(
      {static_cast<double>(s.batch * s.heads), static_cast<double>(s.seq), static_cast<double>(s.d_qk + s.d_v)});
  return {.time = seconds(per_flop.value * work.in(unit::flop)),
          .extrapolated = !exact || !per_flop.inside || s.window > 0 || share != 1.0};
}

OpTime OperatorCurves::memory_bound(const OpKey& key, Bytes traffic, const Device& device) const {
  if (traffic <= Bytes::zero()) return {};
  const Pass pass = measured_pass(key.pass);
  const auto own = memory_bound_.find({std::string(name_of(key.op)), pass});
  if (own != memory_bound_.end()) {
    const LinearCurve::Value value = own->second.at(traffic);
    return {.time = value.time, .extrapolated = !value.inside};
  }
  if (!generic_memory_bound_.empty()) {
    const LinearCurve::Value value = generic_memory_bound_.at(traffic);
    // Where ops are measured by name, the generic table is only a stand-in.
    return {.time = value.time, .extrapolated = !value.inside || !memory_bound_.empty()};
  }
  if (!device.memory_bandwidth) not_calibrated(name_of(key.op), pass, device, "the memory bandwidth");
  return {.time = traffic / (kMemoryFraction * *device.memory_bandwidth), .extrapolated = true};
}

OpTime OperatorCurves::time_of(const OpKey& key, const OpShape& shape, const ResolvedLoad& load,
                               const Device& device) const {
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
  time.time = std::max(time.time, hardware_bound(shape, work, device)) + launch_gap_;
  return time;
}

}  // namespace orrery::costmodel
