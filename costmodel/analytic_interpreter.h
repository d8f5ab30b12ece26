// SPDX-License-Identifier: Apache-2.0
// The fastest of the three interpreters: resolves a program with a cost model and plays its queues through an event
// simulation, or in one pass where nothing slows anything. It knows no shared links (that is what SimGrid is for): each
// communication takes its time alone.
#pragma once

#include "costmodel/cost_model.h"
#include "program/cluster.h"
#include "traces/interpreter.h"

#include <memory>
#include <string_view>
#include <vector>

namespace orrery::costmodel {

class AnalyticInterpreter : public Interpreter {
 public:
  /// `device_of_rank`: empty means that ranks are in the order of the strategy.
  AnalyticInterpreter(std::shared_ptr<const CostModel> model, Cluster cluster,
                      std::vector<DeviceIndex> device_of_rank = {});

  std::string_view name() const override { return "analytic"; }
  bool available() const override { return true; }
  bool enabled() const override { return true; }
  /// Only a program that needs more devices than the cluster has is refused.
  std::vector<Unsupported> unsupported(const StepProgram& program) const override;
  Trace run(const StepProgram& program, const RunInput& input) const override;

 private:
  std::shared_ptr<const CostModel> model_;
  Cluster cluster_;
  std::vector<DeviceIndex> device_of_rank_;
};

}  // namespace orrery::costmodel
