// SPDX-License-Identifier: Apache-2.0
// A small search: a model that is counted by hand, a cluster, and a cost model that knows no calibration.
#pragma once

#include "planner/search.h"
#include "program/work.h"
#include "tests/conformance/programs.h"
#include "tests/unit/program/small_models.h"

#include <string>

namespace orrery::testing {

/// Compute at one Gflop/s and one GB/s, one after the other; communication as NanosecondPerByte.
class OneGigaflop : public NanosecondPerByte {
 public:
  using NanosecondPerByte::NanosecondPerByte;

  costmodel::OpTime compute(const OpKey& key, const OpShape& shape, const ResolvedLoad& load,
                            DeviceIndex) const override {
    const Work work = work_of(key, shape, load);
    return {.time = work.flops / (1e9 * unit::flop_per_second) +
                    (work.read + work.written) / (1e9 * unit::byte_per_second)};
  }
};

/// Searches `small_moe` on one node of `num_devices`, with `memory` on each of them.
struct SmallSearch {
  explicit SmallSearch(std::int64_t num_devices = 4, Bytes memory = gib(16), BatchShape shape = {64, 16})
      : model(small_moe()), cluster(small_cluster(1, num_devices)), batch(shape) {
    cluster.groups.front().device.memory = memory;
  }

  planner::Domains domains(const Strategy& base = {}) const { return planner::domains_of(model, cluster, batch, base); }
  planner::SearchProblem problem() const {
    return {.model = model,
            .cluster = cluster,
            .batch = batch,
            .load = load,
            .sequences = sequences,
            .framework = framework};
  }

  Model model;
  Cluster cluster;
  BatchShape batch;
  LoadModel load;
  SequenceModel sequences;
  std::string framework;  // that trains
};

}  // namespace orrery::testing
