// SPDX-License-Identifier: Apache-2.0
// Times that one rank measured, each single one, so that the median is taken over all ranks and repeats at once.
#pragma once

#include "program/op.h"

#include <cstdint>
#include <string>
#include <vector>

namespace orrery::executor {

/// One compute op at one shape of the probe's program.
struct OpSamples {
  OpCode op = OpCode::embed_lookup;
  Pass pass = Pass::fwd;
  ShapeId shape = 0;
  std::vector<double> seconds;
};

/// One collective; names and sizes as in CollectiveMeasurement.
struct CollectiveSamples {
  std::string op;
  std::int64_t ranks = 0;
  std::int64_t stride = 1;  // from one member to the next; where one host has all, it does not matter
  std::int64_t bytes = 0;
  std::vector<double> seconds;
};

struct RankSamples {
  std::vector<OpSamples> ops;
  std::vector<CollectiveSamples> collectives;
  /// From the end of a compute op to the begin of the next: what the runtime itself takes for an op.
  std::vector<double> gaps;
  /// Of whole steps on this rank, from their common start.
  std::vector<double> steps;
};

std::string to_json(const RankSamples& samples);
/// Throws: ConfigError with all problems.
RankSamples read_rank_samples(const std::string& text, const std::string& name);

}  // namespace orrery::executor
