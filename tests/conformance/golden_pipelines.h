// SPDX-License-Identifier: Apache-2.0
// Pipelines with golden makespans (tests/data/goldens/pipelines.json, pipeline_orders.json), as programs that every
// interpreter can run. Times are microseconds.
#pragma once

#include "base/json_reader.h"
#include "program/names.h"
#include "tests/conformance/pipelines.h"

#include <string>
#include <vector>

namespace orrery::testing {

struct GoldenPipeline {
  std::string name;
  Schedule schedule = Schedule::gpipe;
  std::int64_t num_ranks = 0, chunks = 1, num_micro_batches = 0;
  StageTimes times;
  double makespan = 0.0;                // microseconds
  std::vector<double> idle;             // by rank
  std::vector<std::int64_t> peak_live;  // micro-batches in flight, by rank

  StepProgram program() const { return pipeline_program(schedule, num_ranks, num_micro_batches, times, chunks); }
  StepProgram lowered() const { return lowered_pipeline(schedule, num_ranks, num_micro_batches, chunks); }
  /// Whether op times alone give the slots: an overlapped pair then takes as long as its parts.
  bool has_lowered_form() const {
    const Seconds parts = times.forward + times.input_grad + times.weight_grad;
    return times.pair == Seconds::zero() || times.pair == parts;
  }
};

inline std::vector<GoldenPipeline> golden_pipelines() {
  std::vector<GoldenPipeline> pipelines;
  for (const auto& [file, ranks_key] :
       {std::pair{"pipelines.json", "stages"}, {"pipeline_orders.json", "pipeline_ranks"}}) {
    JsonDocument golden = JsonDocument::parse_file(std::string(ORRERY_SOURCE_DIR) + "/tests/data/goldens/" + file);
    for (const JsonValue& entry : golden.root().required("cases").array()) {
      const JsonObject in = entry.object();
      const auto time = [&](const char* key) { return microseconds(in.optional(key).number().value_or(0.0)); };
      GoldenPipeline& added = pipelines.emplace_back();
      added.schedule = in.required("schedule").one_of<Schedule>(kScheduleNames);
      added.num_ranks = in.required(ranks_key).integer();
      added.chunks = in.optional("chunks").integer().value_or(1);
      added.num_micro_batches = in.required("micro_batches").integer();
      added.times = {.forward = time("forward"),
                     .input_grad = time("input_grad"),
                     .weight_grad = time("weight_grad"),
                     .pair = time("pair"),
                     .message = time("message")};
      added.makespan = in.required("makespan").number();
      for (const JsonValue& value : in.required("idle").array()) added.idle.push_back(value.number());
      for (const JsonValue& value : in.required("peak_live_activations").array()) {
        added.peak_live.push_back(value.integer());
      }
      added.name = std::string(name_of(added.schedule)) + " p" + std::to_string(added.num_ranks) + " m" +
                   std::to_string(added.num_micro_batches) + entry.pointer();
      for (const char* key : {"busy", "span_idle"}) in.required(key);
    }
    golden.throw_if_problems();
  }
  return pipelines;
}

}  // namespace orrery::testing
