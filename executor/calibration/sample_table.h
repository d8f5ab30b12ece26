// SPDX-License-Identifier: Apache-2.0
// Puts together what ranks measured in different probes: all samples of one op at one shape, or of one collective at
// one size, make one point.
#pragma once

#include "executor/calibration/rank_samples.h"
#include "program/step_program.h"
#include "traces/measurements.h"

#include <functional>
#include <map>
#include <string>
#include <tuple>
#include <vector>

namespace orrery::executor {

/// The name under which an op's time stands in a calibration: "gemm", "grouped_gemm", "attention", or its own, for ops
/// limited by memory and for the router, which is a product with a choice behind it.
std::string point_name(OpCode op, const OpShape& shape);

/// What a point takes of its samples. A rank with a core of its own is disturbed by accident, which a median leaves
/// out. Ranks that share cores are set aside in the middle of ops that others may run: most samples of a short op lack
/// the wait and a few have all of it, so that only the mean adds up to the step.
enum class Average { median, mean };

class SampleTable {
 public:
  explicit SampleTable(Average average = Average::median) : average_(average) {}

  /// Adds what one rank measured in `program`.
  void add(const StepProgram& program, const RankSamples& samples);
  /// Adds what one rank measured in `program`, but for what it communicated.
  void add_ops(const StepProgram& program, const RankSamples& samples);
  /// Adds what one rank communicated. `nodes_of`: hosts that the members of its group are on, in equal numbers; 0:
  /// there is no point for it.
  void add_collectives(
      const RankSamples& samples,
      const std::function<std::int64_t(const CollectiveSamples&)>& nodes_of = [](const auto&) { return 1; });

  /// Appends the averages over ranks and repeats, in a fixed order, and the time between ops; but nothing that `out`
  /// has already, so that a table of what was asked for comes before one of anything else.
  void write_to(Measurements& out) const;

 private:
  using OpKind = std::tuple<std::string, Pass, DType, OpShape>;
  struct Op {
    OpShape shape;
    std::vector<double> samples;
  };
  static OpKind kind_of(const std::string& op, Pass pass, DType dtype, const OpShape& shape);

  double average_of(const std::vector<double>& samples) const;

  Average average_;
  std::map<OpKind, Op> ops_;
  using CollectiveId = std::tuple<std::string, std::int64_t, std::int64_t, std::int64_t>;  // op, ranks, nodes, bytes
  std::map<CollectiveId, std::vector<double>> collectives_;
  std::vector<double> gaps_;
};

}  // namespace orrery::executor
