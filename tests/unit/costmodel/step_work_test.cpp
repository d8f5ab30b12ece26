// SPDX-License-Identifier: Apache-2.0
#include "costmodel/step_work.h"

#include "program/load_model.h"
#include "program/lower.h"
#include "program/work.h"
#include "tests/unit/costmodel/varied_cases.h"

#include <array>
#include <map>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

/// What a balanced router gives every rank.
ResolvedLoad balanced(const Rows& rows) {
  const auto count = static_cast<double>(rows.count);
  return {.rows_per_expert = {}, .received = count, .gathered = count, .distinct = count};
}

/// The work of a lowered program, op by op.
class Counter {
 public:
  explicit Counter(const StepProgram& program) : program_(program) {}

  StepWork of(const RankClass& rank) {
    out_ = {};
    std::map<std::tuple<ShapeId, Pass, Queue>, double> times;
    for (const Op& op : rank.ops) times[{op.shape, op.key.pass, op.queue}] += 1.0;
    for (const auto& [op, n] : times) {
      const auto& [shape, pass, queue] = op;
      if (queue == Queue::compute) {
        add_flops(program_.shapes[shape], pass, n);
      } else if (double* total = sent_on(queue)) {
        *total += n * sent(program_.shapes[shape]);
      }
    }
    return out_;
  }

  double sent(const OpShape& shape) const {
    if (const auto* collective = std::get_if<CollectiveShape>(&shape)) {
      CollectiveShape resolved = *collective;
      resolved.bytes += collective->rows.count * collective->row_bytes;
      return wire_bytes(resolved, program_.mesh.size(resolved.group)).in(unit::byte);
    }
    if (const auto* exchange = std::get_if<ExchangeShape>(&shape)) {
      const RoutingMatrix routed = routing(BalancedLoad{}, {.group = program_.mesh.ep(),
                                                            .num_experts = program_.model.moe->num_experts,
                                                            .pairs_per_rank = exchange->rows.count});
      return wire_bytes(*exchange, routed, 0).in(unit::byte);
    }
    const auto* peer = std::get_if<PeerShape>(&shape);
    return peer && peer->send ? static_cast<double>(peer->bytes) : 0.0;
  }

 private:
  void add_flops(const OpShape& shape, Pass pass, double n) {
    StepFlops::ByPass* part = nullptr;
    ResolvedLoad load;
    if (std::holds_alternative<GemmShape>(shape)) part = &out_.flops.linear;
    if (std::holds_alternative<AttentionShape>(shape)) part = &out_.flops.attention;
    if (const auto* grouped = std::get_if<GroupedGemmShape>(&shape)) {
      part = &out_.flops.experts;
      load = balanced(grouped->rows);
    }
    if (!part) return;
    double& sum = pass == Pass::update ? out_.flops.optimizer : (*part)[static_cast<std::size_t>(pass)];
    sum += n * work_of({.pass = pass}, shape, load).flops.in(unit::flop);
  }

  double* sent_on(Queue queue) {
    StepBytes& sent = out_.sent;
    if (is_pipeline(queue)) return is_send(queue) ? &sent.pp : nullptr;
    const std::map<Queue, double*> totals = {{Queue::tp, &sent.tp},       {Queue::cp, &sent.cp},
                                             {Queue::ep, &sent.ep},       {Queue::etp, &sent.etp},
                                             {Queue::dp, &sent.dp},       {Queue::edp, &sent.edp},
                                             {Queue::world, &sent.world}, {Queue::embedding, &sent.embedding}};
    const auto found = totals.find(queue);
    return found == totals.end() ? nullptr : found->second;
  }

  const StepProgram& program_;
  StepWork out_;
};

void expect_close(const StepFlops::ByPass& formula, const StepFlops::ByPass& program, const char* what) {
  for (std::size_t pass = 0; pass < formula.size(); ++pass) {
    EXPECT_NEAR(formula[pass], program[pass], 1e-12 * program[pass]) << what << ' ' << name_of(static_cast<Pass>(pass));
  }
}

void expect_equal(const StepWork& formula, const StepWork& program, bool two_level) {
  expect_close(formula.flops.linear, program.flops.linear, "linear");
  expect_close(formula.flops.experts, program.flops.experts, "experts");
  expect_close(formula.flops.attention, program.flops.attention, "attention");
  EXPECT_NEAR(formula.flops.optimizer, program.flops.optimizer, 1e-12 * program.flops.optimizer);
  const StepBytes &f = formula.sent, &p = program.sent;
  EXPECT_EQ(f.tp, p.tp);
  EXPECT_EQ(f.cp, p.cp);
  EXPECT_EQ(f.etp, p.etp);
  EXPECT_EQ(f.pp, p.pp);
  EXPECT_EQ(f.dp, p.dp);
  EXPECT_EQ(f.edp, p.edp);
  EXPECT_EQ(f.embedding, p.embedding);
  EXPECT_EQ(f.world, p.world);
  // Expected copies of a two-level dispatch are the only fraction that is none of a power of two.
  EXPECT_NEAR(f.ep, p.ep, two_level ? 1e-12 * p.ep : 0.0);
}

TEST(StepWork, IsWhatTheProgramDoesForTenThousandStrategies) {
  testing::for_varied_cases(10000, [](const testing::RandomCase& c, std::uint64_t index) {
    if (::testing::Test::HasFailure()) return;  // one case says enough
    SCOPED_TRACE("case " + std::to_string(index));
    const StepProgram program = lower(c.model, c.strategy, c.batch, c.num_devices);
    Counter counter(program);
    for (const RankClass& rank : program.classes) {
      expect_equal(step_work(c.model, c.strategy, c.batch, program.mesh, rank.pipeline_rank), counter.of(rank),
                   c.strategy.dispatcher == Dispatcher::two_level);
    }
  });
}

TEST(StepWork, EveryMessageThatLeavesARankArrivesAtAnother) {
  testing::for_varied_cases(500, [](const testing::RandomCase& c, std::uint64_t index) {
    SCOPED_TRACE("case " + std::to_string(index));
    const StepProgram program = lower(c.model, c.strategy, c.batch, c.num_devices);
    const auto p = static_cast<std::int64_t>(program.classes.size());
    // By the directed edge (from, to, whether it carries what the four plain queues do not): sent less received.
    std::map<std::tuple<std::int64_t, std::int64_t, bool>, std::int64_t> open;
    for (const RankClass& rank : program.classes) {
      for (const Op& op : rank.ops) {
        const auto* peer = std::get_if<PeerShape>(&program.shapes[op.shape]);
        if (!peer) continue;
        const bool second = op.queue >= Queue::pp_send_prev_act;
        const std::int64_t other = (rank.pipeline_rank + (peer->peer == Group::pp_next ? 1 : p - 1)) % p;
        if (peer->send) open[{rank.pipeline_rank, other, second}] += peer->bytes;
        if (!peer->send) open[{other, rank.pipeline_rank, second}] -= peer->bytes;
      }
    }
    for (const auto& [edge, bytes] : open) {
      EXPECT_EQ(bytes, 0) << std::get<0>(edge) << " to " << std::get<1>(edge);
    }
  });
}

TEST(StepWork, WhatAGroupSendsToItsExpertsIsWhatTheyReceive) {
  const RoutingMatrix skewed = routing(ZipfLoad{}, {.layer = 3, .group = 4, .num_experts = 8, .pairs_per_rank = 1024});
  for (const bool two_level : {false, true}) {
    ExchangeShape there{.rows = {Rows::Kind::routed, 1024}, .row_bytes = 64, .two_level = two_level, .top_k = 2};
    ExchangeShape back = there;
    back.to_experts = false;
    double sent = 0.0, received = 0.0, returned = 0.0;
    for (std::int64_t member = 0; member < 4; ++member) {
      sent += wire_bytes(there, skewed, member).in(unit::byte);
      returned += wire_bytes(back, skewed, member).in(unit::byte);
      const double copies = two_level ? expected_distinct(8, 2, 4) / 2.0 : 1.0;
      received += 64.0 * copies * (skewed.received(member) - skewed.sent(member, member));
    }
    EXPECT_NEAR(sent, received, 1e-9 * sent);
    EXPECT_NEAR(returned, sent, 1e-9 * sent);
  }
}

// Golden values by hand: DeepSeek-V3's layer, bf16, as in the specification of its exchanges.
TEST(StepWork, GivesThePublishedBytesOfOneTokenOfDeepSeekV3) {
  Model model;
  model.hidden = 7168;
  model.vocab = 128;
  model.attention = GroupedQueryAttention{.num_heads = 1, .num_kv_heads = 1, .head_dim = 64};
  model.moe = MoeBlock{.num_experts = 256, .top_k = 8, .expert_width = 2048};
  model.layers = {LayerKind::moe};
  Strategy strategy;
  strategy.ep = 64;
  strategy.precision = DType::fp8;
  strategy.stages = even_stages(1, 1);
  const BatchShape batch{.seq = 64, .global_batch = 64};
  const Mesh mesh(strategy, 64);
  const double remote_rows = 64.0 * 8.0 * 63.0 / 64.0;
  const double counts = 63.0 * 4.0 * 4.0, probabilities = 2.0 * 4.0 * remote_rows;
  // Dispatch and combine, forward and backward: 7,392 bytes in fp8 with scales, 14,336 in bf16.
  EXPECT_EQ(step_work(model, strategy, batch, mesh, 0).sent.ep,
            2.0 * remote_rows * (7392.0 + 14336.0) + counts + probabilities);
}

}  // namespace
}  // namespace orrery::costmodel
