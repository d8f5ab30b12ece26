// SPDX-License-Identifier: Apache-2.0
#include "costmodel/closed_form.h"

#include "costmodel/analytic_interpreter.h"
#include "costmodel/cached_cost_model.h"
#include "costmodel/calibrated_cost_model.h"
#include "costmodel/op_times.h"
#include "program/hf_config.h"
#include "program/lower.h"

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

std::string repository_file(const std::string& path) { return std::string(ORRERY_SOURCE_DIR) + "/" + path; }

struct Case {
  const char* model;
  std::int64_t devices, pp, ep, micro_batch, global_batch;
  Schedule schedule;
  int zero;
  std::set<RecomputeModule> recompute;
  double tolerance;  // relative; how far closed forms are off is a result, stated in docs/design/closed-form.md
  std::int64_t tp = 1, vpp = 1;
};

TEST(ClosedForm, AgreesWithTheAnalyticInterpreter) {
  const Cluster cluster = read_cluster(repository_file("catalog/clusters/h800-2048.json"), repository_file("catalog"));
  const CalibratedCostModel cost(cluster, read_calibration(repository_file("catalog/calibration/h800.json")));
  using R = RecomputeModule;
  const Schedule gpipe = Schedule::gpipe, one_f_one_b = Schedule::one_f_one_b;
  // Nothing overlaps on one stage, so there the two must be equal but for rounding.
  int number = 0;  // of a case, for the table in docs/design/closed-form.md
  for (const Case& c : std::vector<Case>{
           {"catalog/models/mixtral-8x7b.json", 64, 1, 8, 1, 512, one_f_one_b, 0, {}, 1e-9},
           {"catalog/models/qwen3-30b-a3b.json", 16, 1, 1, 2, 64, one_f_one_b, 0, {R::full}, 1e-9},
           {"catalog/models/mixtral-8x7b.json", 64, 4, 8, 1, 256, gpipe, 0, {}, 0.01},
           {"catalog/models/mixtral-8x7b.json", 64, 4, 8, 1, 256, one_f_one_b, 1, {}, 0.02},
           {"catalog/models/qwen3-30b-a3b.json", 64, 2, 8, 2, 512, one_f_one_b, 1, {R::layernorm, R::moe_act}, 0.02},
           {"catalog/models/llama3-8b.json", 64, 8, 1, 1, 24, one_f_one_b, 1, {}, 0.02},
           {"catalog/models/deepseek-v3.json", 2048, 16, 8, 1, 7680, one_f_one_b, 1, {R::full}, 0.03},
           {"catalog/models/mixtral-8x7b.json", 64, 2, 8, 1, 128, Schedule::interleaved, 1, {}, 0.01, 2, 2},
           {"catalog/models/qwen3-30b-a3b.json", 64, 4, 8, 1, 128, Schedule::zb_h1, 1, {}, 0.01},
           {"catalog/models/qwen3-30b-a3b.json", 64, 4, 8, 1, 256, Schedule::zbv, 1, {}, 0.01, 1, 2},
           {"catalog/models/qwen3-30b-a3b.json", 64, 4, 8, 1, 256, Schedule::dualpipe, 1, {}, 0.03},
           {"catalog/models/llama3-8b.json", 64, 2, 1, 1, 64, one_f_one_b, 1, {}, 0.05, 4},
       }) {
    SCOPED_TRACE(std::string(c.model) + " " + std::string(name_of(c.schedule)) + " pp " + std::to_string(c.pp));
    const Model model = read_model(repository_file(c.model));
    Strategy strategy;
    strategy.pp = c.pp;
    strategy.ep = c.ep;
    strategy.micro_batch = c.micro_batch;
    strategy.schedule = c.schedule;
    strategy.zero_dense = c.zero;
    strategy.zero_expert = model.moe ? c.zero : 0;
    strategy.tp = c.tp;
    strategy.sp = c.tp > 1;
    strategy.vpp = c.vpp;
    strategy.stages = even_stages(model.num_layers(), strategy.num_stages());
    for (StageLayout& stage : strategy.stages) stage.recompute = c.recompute;
    const BatchShape batch{.seq = 4096, .global_batch = c.global_batch};
    const StepProgram program = lower(model, strategy, batch, c.devices);
    const Seconds analytic = run_events(time_program(program, cost, cluster, {}, {}), false).makespan;
    const ClosedEstimate closed = estimate_closed(model, strategy, batch, program.mesh, cost);
    EXPECT_NEAR(closed.step_time / analytic, 1.0, c.tolerance);
    RecordProperty("case_" + std::to_string(number++), std::to_string(closed.step_time / analytic - 1.0));
    EXPECT_TRUE(closed.extrapolated);
    EXPECT_EQ(closed.ranks.size(), static_cast<std::size_t>(c.pp));
    EXPECT_LE(closed.pipeline, closed.step_time);
    const CachedCostModel cached(cost);
    EXPECT_EQ(estimate_closed(model, strategy, batch, program.mesh, cached).step_time, closed.step_time);
    EXPECT_EQ(estimate_closed(model, strategy, batch, program.mesh, cached).step_time, closed.step_time);
  }
}

}  // namespace
}  // namespace orrery::costmodel
