// SPDX-License-Identifier: Apache-2.0
// The points of a calibration as curves. Where it states `kernels`, a curve holds what was measured over what the form
// of kernel_model.h says at that shape: close to one, and without the steps that tiles and waves make, so that it can
// be interpolated; elsewhere seconds per floating-point operation. Built once for a calibration and shared by all that
// ask it, whatever factors of training they put on it (docs/design/operators.md).
#pragma once

#include "costmodel/calibration.h"
#include "costmodel/kernel_model.h"
#include "costmodel/linear_curve.h"
#include "costmodel/scattered_curve.h"
#include "program/cluster.h"

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>

namespace orrery::costmodel {

class MeasuredKernels {
 public:
  struct Value {
    double value = 0.0;   // over the form, or seconds per flop
    bool inside = false;  // within the range of every size that was measured
    bool exact = true;    // of this pass, and not of another that stands in
  };
  struct Time {
    double value = 0.0;  // over the form, or seconds
    bool inside = false;
    bool exact = true;  // of this op by name, or nothing was measured by name
  };

  /// `device`: that was measured. Where it does not know a peak that the form asks for, values are not over the form.
  MeasuredKernels(const Calibration& calibration, const Device& device);

  /// Whether values are over the form. Outside of the points they are then those at the border.
  bool over_form() const { return numbers_.has_value(); }

  /// Nothing was measured: nothing. `op`: by its own name, else of all products.
  std::optional<Value> gemm(std::string_view op, Pass pass, DType dtype, double m, double n, double k) const;
  /// `rows` of each expert.
  std::optional<Value> grouped_gemm(Pass pass, const GroupedGemmShape& shape, double rows) const;
  std::optional<Value> attention(Pass pass, const AttentionShape& shape) const;
  std::optional<Time> memory_bound(std::string_view op, Pass pass, Bytes traffic) const;

 private:
  using Kind = std::pair<Pass, DType>;
  using AttentionKind = std::tuple<Pass, DType, bool>;  // causal

  void add(const OpPoint& point);
  Seconds form_of(const OpPoint& point) const;
  std::optional<Value> at(const ScatteredCurve* curve, bool exact, std::initializer_list<double> sizes) const;

  Device device_;
  std::optional<KernelParameters> numbers_;                                   // without factors of training
  std::map<std::string, std::map<Kind, ScatteredCurve>, std::less<>> gemms_;  // over m, n, k
  std::map<Kind, ScatteredCurve> grouped_gemms_;                              // over experts, rows of each, n, k
  std::map<AttentionKind, ScatteredCurve> attentions_;  // over batch * heads, sequence, d_qk + d_v
  std::map<std::pair<std::string, Pass>, LinearCurve> memory_bound_;
  LinearCurve generic_memory_bound_;
};

}  // namespace orrery::costmodel
