// SPDX-License-Identifier: Apache-2.0
// Tables of measured times: what the executor returns when it calibrates a machine, and what the cost model fits and
// writes into calibration/1. Measured times, never efficiencies.
#pragma once

#include "base/units.h"
#include "program/dtype.h"
#include "program/op.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace orrery {

/// Time of one op at one shape. `op` is "gemm", "grouped_gemm", "attention", "memory", or the dotted name of an op that
/// was measured on its own: memory-bound ones ("attn.norm", "moe.permute", "adamw.dense", ...) and the router, a GEMM
/// with a choice behind it.
struct OpMeasurement {
  std::string op;
  Pass pass = Pass::fwd;
  DType dtype = DType::f32;
  /// GemmShape; GroupedGemmShape with the rows of all experts together in rows.count (equal shares);
  /// AttentionShape; or MemoryShape whose rows and bytes per row were moved.
  OpShape shape;
  Seconds time;    // median
  Seconds spread;  // median absolute deviation
  std::int64_t repeats = 0;
  std::string source;
};

/// Time of one collective. `bytes` is nccl-tests' size: the whole buffer for all-reduce, all-gather and
/// reduce-scatter; bytes that leave a rank, its own part included, for all_to_all; the message for send_recv.
struct CollectiveMeasurement {
  std::string op;    // "all_reduce" | "reduce_scatter" | "all_gather" | "all_to_all" | "send_recv"
  std::string path;  // "node" | "rail" | "spine"
  std::int64_t ranks = 0, nodes = 1;
  Bytes bytes;
  Seconds time;
  std::string source;
};

/// Whole steps of a training run that was measured, by number of what was asked for.
struct StepMeasurement {
  std::size_t run = 0;
  std::vector<Seconds> times;
};

struct MeasurementConditions {
  std::int64_t active_ranks = 0;  // ranks that were busy at the same time
  std::int64_t threads_per_rank = 0;
  std::string input = "random";  // data that the kernels worked on
};

struct Measurements {
  std::string device, software;
  MeasurementConditions conditions;
  std::vector<OpMeasurement> ops;
  std::vector<CollectiveMeasurement> collectives;
  std::vector<StepMeasurement> steps;
  Seconds launch;  // from the end of an op to the begin of the next; zero: not measured
};

}  // namespace orrery
