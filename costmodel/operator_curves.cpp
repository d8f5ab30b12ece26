// SPDX-License-Identifier: Apache-2.0
#include "costmodel/operator_curves.h"

#include "base/check.h"
#include "base/errors.h"

#include <algorithm>
#include <optional>
#include <vector>

#include <fmt/format.h>

namespace orrery::costmodel {
namespace {

const KernelParameters kNoDevice;

// Multiprocessors of a GPU that kernels of a communication hold: 20 of 132 saturate NVLink and a NIC (DeepSeek-V3
// report; DeepEP's default), and NCCL's rings have 16 to 32 channels of one each.
constexpr double kTakenByCommunication = 20.0;

Pass measured_pass(Pass pass) { return pass == Pass::rec ? Pass::fwd : pass; }

Flops products(double m, double n, double k) { return flops(2.0 * m * n * k); }

/// Rows of each expert; in equal parts where no router is known.
std::vector<double> rows_of(const GroupedGemmShape& s, const ResolvedLoad& load) {
  if (!load.rows_per_expert.empty()) return load.rows_per_expert;
  return std::vector<double>(static_cast<std::size_t>(s.num_experts),
                             static_cast<double>(s.rows.count) / static_cast<double>(s.num_experts));
}

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

OperatorCurves::OperatorCurves(const Calibration& calibration)
    : kernels_(calibration.kernels), power_limit_(calibration.conditions.power_limit) {
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

KernelModel OperatorCurves::form(const Device& device, double taken) const {
  if (!kernels_) return KernelModel(device, kNoDevice);
  const bool is_capped = power_limit_ && device.power_limit;
  return KernelModel(device, *kernels_, is_capped ? clock_under_power_limit(*device.power_limit, *power_limit_) : 1.0,
                     taken);
}

std::optional<double> OperatorCurves::slowdown(const OpKey& key, const OpShape& shape, const ResolvedLoad& load,
                                               const Device& device) const {
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
  const auto alone = time_with(0.0), beside = time_with(kTakenByCommunication);
  if (!alone || !beside) return std::nullopt;
  return *beside / *alone - 1.0;
}

std::optional<OpTime> OperatorCurves::by_form(bool has_table, const std::optional<Seconds>& time) const {
  if (!time || (has_table && !kernels_)) return std::nullopt;
  return OpTime{.time = *time, .extrapolated = !kernels_.has_value()};
}

OpTime OperatorCurves::gemm(const OpKey& key, const GemmShape& s, const Device& device) const {
  const Pass pass = measured_pass(key.pass);
  const auto m = static_cast<double>(s.m), n = static_cast<double>(s.n), k = static_cast<double>(s.k);
  bool exact = false;
  const ScatteredCurve* curve = gemm_curve(name_of(key.op), {pass, s.dtype}, exact);
  ScatteredCurve::Value per_flop;
  if (curve) per_flop = curve->at({m, n, k});
  if (!curve || !exact || !per_flop.inside) {
    const double rows[] = {m};
    const auto time = form(device).product(pass, rows, s.n, s.k, s.dtype, s.accumulate);
    if (const auto formed = by_form(curve != nullptr, time)) return *formed;
  }
  if (!curve) not_calibrated("gemm", pass, device, fmt::format("the {} peak rate", name_of(s.dtype)));
  return {.time = seconds(per_flop.value * products(m, n, k).in(unit::flop)),
          .extrapolated = !exact || !per_flop.inside};
}

OpTime OperatorCurves::grouped_gemm(Pass pass, const GroupedGemmShape& s, const ResolvedLoad& load,
                                    const Device& device) const {
  const auto n = static_cast<double>(s.n), k = static_cast<double>(s.k);
  const auto experts = static_cast<double>(s.num_experts);
  const std::vector<double> expert_rows = rows_of(s, load);
  bool exact = false;
  const ScatteredCurve* curve = stand_in(grouped_gemms_, Kind{pass, s.dtype}, exact);
  bool exact_gemm = false;
  const ScatteredCurve* product = curve ? nullptr : gemm_curve("gemm", {pass, s.dtype}, exact_gemm);
  OpTime total{.time = {}, .extrapolated = !exact};
  if (curve || product) {
    double last_rows = 0.0;
    Seconds last_time;
    for (const double rows : expert_rows) {
      if (rows != last_rows) {                             // a balanced router asks once
        const double measured_rows = std::max(rows, 1.0);  // a table has no point below one row
        const ScatteredCurve::Value per_flop =
            curve ? curve->at({experts, measured_rows, n, k}) : product->at({measured_rows, n, k});
        total.extrapolated = total.extrapolated || !per_flop.inside;
        last_time = seconds(per_flop.value * products(rows, n, k).in(unit::flop));
      }
      last_rows = rows;
      total.time += last_time;
    }
    if (!total.extrapolated) return total;
  }
  const auto time = form(device).product(pass, expert_rows, s.n, s.k, s.dtype, s.accumulate);
  if (const auto formed = by_form(curve || product, time)) return *formed;
  if (!curve && !product) {
    not_calibrated("grouped_gemm", pass, device, fmt::format("the {} peak rate", name_of(s.dtype)));
  }
  return total;
}

OpTime OperatorCurves::attention(const OpKey& key, const AttentionShape& s, double share, const Device& device) const {
  const Pass pass = measured_pass(key.pass);
  // Documents leave a share of the pairs. Per pair they are taken to cost what those of whole sequences do.
  const Work work = work_of(key, s, {.attention_share = share});
  bool exact = false;
  const ScatteredCurve* curve = stand_in(attentions_, AttentionKind{pass, s.dtype, s.causal}, exact);
  if (!exact) {
    bool other_exact = false;
    // The same pass without or with the mask is nearer than another pass.
    const ScatteredCurve* other = stand_in(attentions_, AttentionKind{pass, s.dtype, !s.causal}, other_exact);
    if (other_exact || !curve) curve = other;
  }
  ScatteredCurve::Value per_flop;
  if (curve) {
    per_flop = curve->at(
        {static_cast<double>(s.batch * s.heads), static_cast<double>(s.seq), static_cast<double>(s.d_qk + s.d_v)});
  }
  const bool interpolated = exact && per_flop.inside && s.window == 0 && share == 1.0;
  if (!interpolated) {
    if (const auto formed = by_form(curve != nullptr, form(device).attention(pass, s, work))) return *formed;
  }
  if (!curve) not_calibrated("attention", pass, device, fmt::format("the {} peak rate", name_of(s.dtype)));
  return {.time = seconds(per_flop.value * work.flops.in(unit::flop)), .extrapolated = !interpolated};
}

OpTime OperatorCurves::memory_bound(const OpKey& key, Bytes traffic, const Device& device) const {
  if (traffic <= Bytes::zero()) return {};
  const Pass pass = measured_pass(key.pass);
  const auto own = memory_bound_.find({std::string(name_of(key.op)), pass});
  const bool has_own = own != memory_bound_.end();
  const LinearCurve& curve = has_own ? own->second : generic_memory_bound_;
  LinearCurve::Value value;
  if (!curve.empty()) value = curve.at(traffic);
  if (!value.inside) {
    if (const auto formed = by_form(!curve.empty(), form(device).memory_bound(traffic))) return *formed;
  }
  if (curve.empty()) not_calibrated(name_of(key.op), pass, device, "the memory bandwidth");
  // Where ops are measured by name, the generic table is only a stand-in.
  return {.time = value.time, .extrapolated = !value.inside || (!has_own && !memory_bound_.empty())};
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
  time.slowdown = slowdown(key, shape, load, device);
  return time;
}

}  // namespace orrery::costmodel
