// SPDX-License-Identifier: Apache-2.0
#include "costmodel/measured_kernels.h"

#include "base/check.h"
#include "program/work.h"

#include <algorithm>
#include <vector>

namespace orrery::costmodel {
namespace {

double real(std::int64_t count) { return static_cast<double>(count); }

Work work_of(const OpPoint& point) { return orrery::work_of({.pass = point.pass}, point.shape, {}); }

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

/// A weight gradient is added to f32 (docs/design/calibration.md).
DType accumulated(Pass pass, DType dtype) { return pass == Pass::wgrad ? DType::f32 : dtype; }

}  // namespace

MeasuredKernels::MeasuredKernels(const Calibration& calibration, const Device& device) : device_(device) {
  const bool has_form = std::all_of(calibration.points.begin(), calibration.points.end(), [&](const OpPoint& point) {
    if (std::holds_alternative<MemoryShape>(point.shape)) return device.memory_bandwidth.has_value();
    return device.peak.contains(point.dtype);
  });
  if (has_form) numbers_ = calibration.kernels;
  for (const OpPoint& point : calibration.points) add(point);
}

Seconds MeasuredKernels::form_of(const OpPoint& point) const {
  const KernelModel form(device_, *numbers_);
  if (const auto* s = std::get_if<GemmShape>(&point.shape)) {
    const double rows[] = {real(s->m)};
    return *form.product(point.pass, rows, s->n, s->k, s->dtype, accumulated(point.pass, s->dtype));
  }
  if (const auto* g = std::get_if<GroupedGemmShape>(&point.shape)) {
    const std::vector<double> rows(static_cast<std::size_t>(g->num_experts),
                                   real(g->rows.count) / real(g->num_experts));
    return *form.product(point.pass, rows, g->n, g->k, g->dtype, accumulated(point.pass, g->dtype));
  }
  const auto* attention = std::get_if<AttentionShape>(&point.shape);
  CHECK(attention != nullptr, point.op);
  return *form.attention(point.pass, *attention, work_of(point));
}

void MeasuredKernels::add(const OpPoint& point) {
  const auto over = [&](double flops) {
    return point.time.in(unit::second) / (over_form() ? form_of(point).in(unit::second) : flops);
  };
  if (const auto* s = std::get_if<GemmShape>(&point.shape)) {
    const double m = real(s->m), n = real(s->n), k = real(s->k);
    gemms_[point.op][{point.pass, point.dtype}].add({m, n, k}, over(2.0 * m * n * k));
  } else if (const auto* g = std::get_if<GroupedGemmShape>(&point.shape)) {
    const double experts = real(g->num_experts), rows = real(g->rows.count), n = real(g->n), k = real(g->k);
    grouped_gemms_[{point.pass, point.dtype}].add({experts, rows / experts, n, k}, over(2.0 * rows * n * k));
  } else if (std::holds_alternative<MemoryShape>(point.shape)) {
    const Work work = work_of(point);
    LinearCurve& curve = point.op == "memory" ? generic_memory_bound_ : memory_bound_[{point.op, point.pass}];
    curve.add(work.read + work.written, point.time);
  } else {
    const auto& a = std::get<AttentionShape>(point.shape);
    const double value = over(work_of(point).flops.in(unit::flop));
    attentions_[{point.pass, point.dtype, a.causal}].add({real(a.batch * a.heads), real(a.seq), real(a.d_qk + a.d_v)},
                                                         value);
  }
}

std::optional<MeasuredKernels::Value> MeasuredKernels::at(const ScatteredCurve* curve, bool exact,
                                                          std::initializer_list<double> sizes) const {
  if (!curve) return std::nullopt;
  const ScatteredCurve::Value found = over_form() ? curve->at_border(sizes) : curve->at(sizes);
  return Value{.value = found.value, .inside = found.inside, .exact = exact};
}

std::optional<MeasuredKernels::Value> MeasuredKernels::gemm(std::string_view op, Pass pass, DType dtype, double m,
                                                            double n, double k) const {
  for (const std::string_view name : {op, std::string_view("gemm")}) {
    const auto found = gemms_.find(name);
    if (found == gemms_.end()) continue;
    bool exact = false;
    const ScatteredCurve* curve = stand_in(found->second, Kind{pass, dtype}, exact);
    if (curve) return at(curve, exact, {m, n, k});
  }
  return std::nullopt;
}

std::optional<MeasuredKernels::Value> MeasuredKernels::grouped_gemm(Pass pass, const GroupedGemmShape& s,
                                                                    double rows) const {
  bool exact = false;
  const ScatteredCurve* curve = stand_in(grouped_gemms_, Kind{pass, s.dtype}, exact);
  return at(curve, exact, {real(s.num_experts), rows, real(s.n), real(s.k)});
}

std::optional<MeasuredKernels::Value> MeasuredKernels::attention(Pass pass, const AttentionShape& s) const {
  bool exact = false;
  const ScatteredCurve* curve = stand_in(attentions_, AttentionKind{pass, s.dtype, s.causal}, exact);
  if (!exact) {
    bool other_exact = false;
    // The same pass without or with the mask is nearer than another pass.
    const ScatteredCurve* other = stand_in(attentions_, AttentionKind{pass, s.dtype, !s.causal}, other_exact);
    if (other_exact || !curve) curve = other;
  }
  return at(curve, exact, {real(s.batch * s.heads), real(s.seq), real(s.d_qk + s.d_v)});
}

std::optional<MeasuredKernels::Time> MeasuredKernels::memory_bound(std::string_view op, Pass pass,
                                                                   Bytes traffic) const {
  const auto own = memory_bound_.find({std::string(op), pass});
  const bool has_own = own != memory_bound_.end();
  const LinearCurve& curve = has_own ? own->second : generic_memory_bound_;
  if (curve.empty()) return std::nullopt;
  const LinearCurve::Value found = curve.at(traffic);
  double value = found.time.in(unit::second);
  if (over_form()) value /= KernelModel(device_, *numbers_).memory_bound(traffic)->in(unit::second);
  // Where ops are measured by name, the generic table is only a stand-in.
  return Time{.value = value, .inside = found.inside, .exact = has_own || memory_bound_.empty()};
}

}  // namespace orrery::costmodel
