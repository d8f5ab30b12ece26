// SPDX-License-Identifier: Apache-2.0
// Time of a compute op from the measured points of a calibration. Matrix products and attention are interpolated as
// time per floating-point operation, which varies slowly; memory-bound ops as time over bytes. What stands in for a
// missing table, and when a result is extrapolated: docs/design/operators.md.
#pragma once

#include "costmodel/calibration.h"
#include "costmodel/cost_model.h"
#include "costmodel/kernel_model.h"
#include "costmodel/measured_kernels.h"

#include <memory>
#include <optional>
#include <string_view>

namespace orrery::costmodel {

class OperatorCurves {
 public:
  /// `measured`: the points of `calibration`; its own points are not looked at. `recipe`: how fp8 operands are scaled.
  OperatorCurves(const Calibration& calibration, std::shared_ptr<const MeasuredKernels> measured, Fp8Recipe recipe);

  /// Time of one op on `device`, with the gap that its launch leaves and the casts of its operands. Never less than the
  /// device's peak rates allow.
  /// Throws: ConfigError if neither the calibration nor the device says how fast such an op is.
  /// Requires: a compute op.
  OpTime time_of(const OpKey& key, const OpShape& shape, const ResolvedLoad& load, const Device& device) const;
  /// OpTime::slowdown_by_exchange, where kernels that hold `held` multiprocessors slow it more than others.
  std::optional<double> slowdown_beside(double held, const OpKey& key, const OpShape& shape, const ResolvedLoad& load,
                                        const Device& device) const;
  /// The same of its kernel alone, as points of calibrations are.
  OpTime kernel_of(const OpKey& key, const OpShape& shape, const ResolvedLoad& load, const Device& device) const;

 private:
  KernelModel form(const Device& device, double taken = 0.0) const;
  /// What the form says, times what the points say of the form, where the calibration states its numbers, marked unless
  /// the shape lies among points of the op, pass and type; where it has neither numbers nor points, the form with the
  /// numbers of no device, marked. Else nothing: the points decide.
  template <class Measured>
  std::optional<OpTime> by_form(const std::optional<Seconds>& time, const std::optional<Measured>& measured) const;
  /// Of a product or an attention on a GPU whose multiprocessors are known, where the form is stated, beside kernels
  /// that hold `held` of them.
  std::optional<double> slowdown(double held, const OpKey& key, const OpShape& shape, const ResolvedLoad& load,
                                 const Device& device) const;
  /// Of an fp8 product's operands: docs/design/kernels.md.
  Seconds casts(const OpKey& key, const OpShape& shape, const ResolvedLoad& load, const Device& device) const;
  OpTime gemm(const OpKey& key, const GemmShape& shape, const Device& device) const;
  OpTime grouped_gemm(Pass pass, const GroupedGemmShape& shape, const ResolvedLoad& load, const Device& device) const;
  OpTime attention(const OpKey& key, const AttentionShape& shape, double share, const Device& device) const;
  OpTime memory_bound(const OpKey& key, Bytes traffic, const Device& device) const;

  std::shared_ptr<const MeasuredKernels> measured_;
  /// Stated by the calibration, with its factors of training; absent: the form with the numbers of no device stands in
  /// where nothing was measured.
  std::optional<KernelParameters> kernels_;
  std::optional<Watts> power_limit_;  // at which the numbers hold
  Fp8Recipe recipe_;
  Seconds launch_gap_;
};

}  // namespace orrery::costmodel
