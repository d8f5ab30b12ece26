// SPDX-License-Identifier: Apache-2.0
// The closed form and the analytic interpreter over random strategies of all dimensions.
#include "costmodel/cached_cost_model.h"
#include "costmodel/calibrated_cost_model.h"
#include "costmodel/closed_form.h"
#include "costmodel/op_times.h"
#include "program/lower.h"
#include "tests/unit/costmodel/varied_cases.h"

#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

std::string repository_file(const std::string& path) { return std::string(ORRERY_SOURCE_DIR) + "/" + path; }

struct H800 {
  const Cluster cluster = read_cluster(repository_file("catalog/clusters/h800-2048.json"), repository_file("catalog"));
  const CalibratedCostModel cost{cluster, read_calibration(repository_file("catalog/calibration/h800.json"))};
};

const H800& h800() {
  static const H800 machine;
  return machine;
}

/// The same strategy with a model and a batch large enough that arithmetic and bandwidth decide, not latencies.
testing::RandomCase enlarged(testing::RandomCase c) {
  c.model.hidden *= 64;
  c.model.dense_width *= 64;
  c.model.vocab *= 128;
  if (auto* gqa = std::get_if<GroupedQueryAttention>(&c.model.attention)) gqa->head_dim *= 8;
  if (auto* mla = std::get_if<MultiHeadLatentAttention>(&c.model.attention)) {
    mla->q_lora_rank *= 64;
    mla->kv_lora_rank *= 32;
    mla->qk_nope_dim *= 16;
    mla->qk_rope_dim *= 16;
    mla->v_head_dim *= 16;
  }
  if (c.model.moe) {
    c.model.moe->expert_width *= 64;
    c.model.moe->shared_width *= 64;
  }
  c.batch.seq = 4096;
  for (AttentionSpan& span : c.model.spans) span.window *= 64;
  return c;
}

struct Compared {
  double ratio = 0.0;  // closed over analytic
  std::uint64_t index = 0;
};

TEST(ClosedFormOfRandomStrategies, IsNearTheAnalyticInterpreter) {
  const CachedCostModel cached(h800().cost);
  std::vector<Compared> all;
  testing::for_varied_cases(500, [&](const testing::RandomCase& drawn, std::uint64_t index) {
    const testing::RandomCase c = enlarged(drawn);
    ASSERT_TRUE(testing::is_legal(c)) << index;
    const StepProgram program = lower(c.model, c.strategy, c.batch, c.num_devices);
    const TimedProgram timed = time_program(program, cached, h800().cluster, {}, {});
    const OpTimes times = run_events(timed, true);
    for (const TimedRank& rank : timed.ranks) {  // it finishes, and no rank computes faster than it can
      Seconds compute;
      for (const Seconds time : rank.compute_time) compute += time;
      EXPECT_GE(times.makespan, compute * (1.0 - 1e-12)) << index;
    }
    const ClosedEstimate closed = estimate_closed(c.model, c.strategy, c.batch, program.mesh, cached);
    if (std::getenv("DUMP")) std::printf("ratio %.4f case %lu tp %ld sp %d pp %ld cp %ld k %d ep %ld etp %ld zd %d ze %d inst %ld sched %s disp %d b %d tpo %d pair %d dw %d sh %d offo %d offa %d muon %d mtp %d\n", closed.step_time / times.makespan, index, c.strategy.tp, c.strategy.sp, c.strategy.pp, c.strategy.cp, (int)c.strategy.cp_kind, c.strategy.ep, c.strategy.etp, c.strategy.zero_dense, c.strategy.zero_expert, c.strategy.num_optimizer_instances, std::string(name_of(c.strategy.schedule)).c_str(), (int)c.strategy.dispatcher, c.strategy.overlap.dp_buckets, c.strategy.overlap.tp, c.strategy.overlap.ep_batch_level, c.strategy.overlap.delayed_wgrad, c.strategy.overlap.shared_expert, c.strategy.offload_optimizer, c.strategy.offload_activations, (int)c.strategy.optimizer, (int)c.strategy.mtp);
    all.push_back({closed.step_time / times.makespan, index});
  });
  std::sort(all.begin(), all.end(), [](const Compared& a, const Compared& b) { return a.ratio < b.ratio; });
  const auto at = [&](double share) {
    return all[static_cast<std::size_t>(share * static_cast<double>(all.size() - 1))];
  };
  for (const double share : {0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0}) {
    std::printf("%.2f: %.4f (case %lu)\n", share, at(share).ratio, at(share).index);
  }
}

}  // namespace
}  // namespace orrery::costmodel
