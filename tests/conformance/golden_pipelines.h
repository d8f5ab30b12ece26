// SPDX-License-Identifier: Apache-2.0
// Pipelines with golden makespans (tests/data/goldens/pipelines.json), as programs that every interpreter can run.
// Times are microseconds, and a message of 100 kB takes one on a port of 100 GB/s without latency.
#pragma once

#include "base/json_reader.h"
#include "tests/conformance/programs.h"

#include <string>
#include <vector>

namespace orrery::testing {

struct GoldenPipeline {
  std::string name;
  std::int64_t num_stages = 0;
  StepProgram program;
  double makespan = 0.0;     // microseconds
  std::vector<double> idle;  // by stage
};

inline std::vector<GoldenPipeline> golden_pipelines() {
  JsonDocument golden = JsonDocument::parse_file(std::string(ORRERY_SOURCE_DIR) + "/tests/data/goldens/pipelines.json");
  std::vector<GoldenPipeline> pipelines;
  for (const JsonValue& entry : golden.root().required("cases").array()) {
    const JsonObject in = entry.object();
    const std::string schedule = in.required("schedule").string();
    const auto stages = in.required("stages").integer(), micro_batches = in.required("micro_batches").integer();
    const auto time = [&](const char* key) { return microseconds(in.required(key).number()); };
    const auto message_bytes = static_cast<std::int64_t>(in.required("message").number() * 100000);
    std::vector<double> idle;
    for (const JsonValue& value : in.required("idle").array()) idle.push_back(value.number());
    pipelines.push_back({.name = schedule + " p" + std::to_string(stages) + " m" + std::to_string(micro_batches),
                         .num_stages = stages,
                         .program = pipeline_program(schedule == "gpipe" ? Schedule::gpipe : Schedule::one_f_one_b,
                                                     stages, micro_batches,
                                                     {.forward = time("forward"),
                                                      .input_grad = time("input_grad"),
                                                      .weight_grad = time("weight_grad"),
                                                      .message_bytes = message_bytes}),
                         .makespan = in.required("makespan").number(),
                         .idle = std::move(idle)});
  }
  golden.throw_if_problems();
  return pipelines;
}

}  // namespace orrery::testing
