// SPDX-License-Identifier: Apache-2.0
#include "costmodel/piece_times.h"

#include "base/rng.h"
#include "costmodel/cached_cost_model.h"
#include "costmodel/closed_form.h"
#include "costmodel/forwarding_cost_model.h"
#include "costmodel/lower_bound.h"
#include "program/legality.h"
#include "program/mesh.h"
#include "tests/unit/costmodel/enlarged_cases.h"
#include "tests/unit/program/small_models.h"

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <set>
#include <span>

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

constexpr std::int64_t kNumDevices = 16;

/// One of the values, at random.
class Draw {
 public:
  explicit Draw(std::uint64_t index) : rng_(2028, index) {}

  template <class Value>
  Value of(std::initializer_list<Value> values) {
    return values.begin()[rng_.below(next_++, values.size())];
  }

 private:
  const CounterRng rng_;
  std::uint64_t next_ = 0;
};

/// Whatever decides the ops of a layer, drawn at random.
Strategy drawn(const Model& model, std::uint64_t index) {
  Draw draw(index);
  Strategy s;
  s.tp = draw.of({1, 2, 4});
  s.sp = s.tp > 1 && draw.of({true, true, false});
  s.cp = draw.of({1, 1, 2});
  s.cp_kind = draw.of({ContextParallel::ring, ContextParallel::all_gather, ContextParallel::ulysses});
  s.ep = draw.of({1, 2, 4});
  s.etp = draw.of({1, 1, 2});
  s.dispatcher = draw.of({Dispatcher::all_to_all, Dispatcher::all_gather, Dispatcher::two_level});
  s.micro_batch = draw.of({1, 2});
  s.schedule = draw.of({Schedule::one_f_one_b, Schedule::zb_h1, Schedule::dualpipe});
  s.pp = s.schedule == Schedule::one_f_one_b ? draw.of({1, 2}) : 2;
  if (draw.of({1, 2, 3}) == 1) s.capacity_factor = draw.of({1.0, 1.5});
  s.overlap = {.tp = s.sp && draw.of({true, false}),
               .ep_batch_level = draw.of({true, false}),
               .delayed_wgrad = draw.of({true, false}),
               .shared_expert = draw.of({true, false})};
  s.cuda_graphs = s.capacity_factor && draw.of({true, false});
  s.precision = draw.of({DType::bf16, DType::fp8});
  s.fp8_recipe = draw.of({Fp8Recipe::blockwise, Fp8Recipe::mxfp8});
  s.fp8_activation_input = s.precision == DType::fp8 && draw.of({true, false});
  s.grad_dtype = draw.of({DType::f32, DType::bf16});
  s.stages = even_stages(model.num_layers(), s.num_stages());
  using R = RecomputeModule;
  for (StageLayout& stage : s.stages) {
    stage.recompute = draw.of<std::set<R>>({{},
                                            {R::full},
                                            {R::layernorm, R::moe_act},
                                            {R::core_attn, R::moe},
                                            {R::mla_up_proj, R::mlp, R::shared_experts}});
  }
  return s;
}

/// Latent attention, of which one layer sees a window, and shared experts.
Model model_of_all_pieces() {
  Model model = orrery::testing::small_mla();
  model.spans.resize(model.layers.size());
  model.spans.back().window = 1024;
  model.hidden *= 16;
  model.dense_width *= 16;
  model.vocab *= 16;
  model.moe->expert_width *= 16;
  model.moe->shared_width *= 16;
  return model;
}

// Exchanges of larger groups hold more multiprocessors, all of them more than other communications.
class HoldsMoreForMore : public ForwardingCostModel {
 public:
  using ForwardingCostModel::ForwardingCostModel;
  std::optional<double> held_by(const ExchangeShape& /*shape*/, std::int64_t /*num_experts*/,
                                std::span<const DeviceIndex> members) const override {
    return 30.0 + 10.0 * static_cast<double>(members.size());
  }
};

// Whatever was asked before, of whichever strategy: what is left out of a key would be the answer to another question.
TEST(PieceTimes, AreThoseOfAStrategyThatSharesThemWithNobody) {
  const Model model = model_of_all_pieces();
  const BatchShape batch{.seq = 4096, .global_batch = 64};
  const HoldsMoreForMore holding(testing::h800().cost);
  const CachedCostModel cost(holding);
  PieceTimes shared(model, batch);
  std::int64_t num_legal = 0;
  for (std::uint64_t index = 0; index < 4000; ++index) {
    const Strategy s = drawn(model, index);
    if (!violations(model, s, batch, kNumDevices).empty()) continue;
    ++num_legal;
    const Mesh mesh(s, kNumDevices);
    const ClosedEstimate alone = estimate_closed(model, s, batch, mesh, cost);
    const ClosedEstimate with_others = estimate_closed(model, s, batch, mesh, cost, {}, &shared);
    EXPECT_EQ(alone.step_time, with_others.step_time) << index;
    EXPECT_EQ(alone.extrapolated, with_others.extrapolated) << index;
    EXPECT_EQ(lower_bound(model, s, batch, mesh, cost), lower_bound(model, s, batch, mesh, cost, {}, &shared)) << index;
  }
  EXPECT_GE(num_legal, 400);
}

}  // namespace
}  // namespace orrery::costmodel
