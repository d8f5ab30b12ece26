// SPDX-License-Identifier: Apache-2.0
// Time of a compute op from the measured points of a calibration. Matrix products and attention are interpolated as
// time per floating-point operation, which varies slowly; memory-bound ops as time over bytes. What stands in for a
// missing table, and when a result is extrapolated: docs/design/operators.md.
#pragma once

#include "costmodel/calibration.h"
#include "costmodel/cost_model.h"
#include "costmodel/kernel_model.h"
#include "costmodel/linear_curve.h"
#include "costmodel/scattered_curve.h"
#include "program/work.h"

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>

namespace orrery::costmodel {

class OperatorCurves {
 public:
  explicit OperatorCurves(const Calibration& calibration);

  /// Time of one op on `device`, with the gap that its launch leaves. Never less than the device's peak rates allow.
  /// Throws: ConfigError if neither the calibration nor the device says how fast such an op is.
  /// Requires: a compute op.
  OpTime time_of(const OpKey& key, const OpShape& shape, const ResolvedLoad& load, const Device& device) const;

 private:
  using Kind = std::pair<Pass, DType>;
  using AttentionKind = std::tuple<Pass, DType, bool>;  // causal

  /// The curve of `op` by its own name, else that of all products; null: there is none.
  const ScatteredCurve* gemm_curve(std::string_view op, const Kind& kind, bool& exact) const;
  /// By the form, where it is stated or `has_table` is false.
  std::optional<OpTime> by_form(bool has_table, const std::optional<Seconds>& time) const;
  KernelModel form(const Device& device, double taken = 0.0) const;
  /// Of a product or an attention on a GPU whose multiprocessors are known, where the form is stated.
  std::optional<double> slowdown(const OpKey& key, const OpShape& shape, const ResolvedLoad& load,
                                 const Device& device) const;
  OpTime gemm(const OpKey& key, const GemmShape& shape, const Device& device) const;
  OpTime grouped_gemm(Pass pass, const GroupedGemmShape& shape, const ResolvedLoad& load, const Device& device) const;
  OpTime attention(const OpKey& key, const AttentionShape& shape, double share, const Device& device) const;
  OpTime memory_bound(const OpKey& key, Bytes traffic, const Device& device) const;

  /// Seconds per flop over m, n, k: of "gemm", and of ops measured by name because they do more than a product.
  std::map<std::string, std::map<Kind, ScatteredCurve>, std::less<>> gemms_;
  std::map<Kind, ScatteredCurve> grouped_gemms_;        // over experts, rows of each, n, k
  std::map<AttentionKind, ScatteredCurve> attentions_;  // over batch * heads, sequence, d_qk + d_v
  std::map<std::pair<std::string, Pass>, LinearCurve> memory_bound_;
  LinearCurve generic_memory_bound_;
  /// Stated by the calibration; absent: the form with the numbers of no device stands in where there is no table.
  std::optional<KernelParameters> kernels_;
  std::optional<Watts> power_limit_;  // at which the numbers hold
  Seconds launch_gap_;
};

}  // namespace orrery::costmodel
