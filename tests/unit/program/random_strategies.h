// SPDX-License-Identifier: Apache-2.0
// Random legal strategies over every dimension, for property tests. The same index gives the same case.
#pragma once

#include "base/rng.h"
#include "program/legality.h"
#include "program/schedule.h"
#include "program/strategy.h"
#include "tests/unit/program/small_models.h"

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <utility>

namespace orrery::testing {

struct RandomCase {
  Model model;
  Strategy strategy;
  BatchShape batch;
  std::int64_t num_devices = 0;
};

/// A dense model, one with experts, and one like DeepSeek-V3 with a prediction module; all with 4 layers or more.
inline Model random_model(std::uint64_t kind, std::int64_t num_layers) {
  Model model = small_moe(num_layers);
  switch (kind) {
    case 0:
      model.moe.reset();
      model.layers.assign(model.layers.size(), LayerKind::dense);
      std::get<GroupedQueryAttention>(model.attention).qk_norm = true;
      model.tied_embeddings = true;
      break;
    case 1:
      model.spans.assign(model.layers.size(), {});
      model.spans.back().window = 16;
      break;
    default: {
      const Model mla = small_mla();
      model.attention = mla.attention;
      model.moe = mla.moe;
      model.moe->shared_expert_gate = kind == 3;
      model.num_mtp_modules = 1;
    }
  }
  return model;
}

/// The `index`-th draw; nothing if it breaks a rule.
inline std::optional<RandomCase> random_case(std::uint64_t index) {
  const CounterRng rng(2026, index);
  std::uint64_t next = 0;
  const auto below = [&](std::uint64_t n) { return rng.below(next++, n); };
  const auto pick = [&](std::initializer_list<std::int64_t> values) { return values.begin()[below(values.size())]; };
  const auto rarely = [&] { return below(4) == 0; };

  RandomCase out;
  out.num_devices = pick({1, 2, 4, 8, 16, 32});
  const std::int64_t num_layers = pick({4, 5, 8});
  out.model = random_model(below(4), num_layers);
  Strategy& s = out.strategy;
  s.tp = pick({1, 1, 2, 4});
  s.sp = s.tp > 1 && !rarely();
  s.pp = pick({1, 1, 2, 4});
  s.cp = pick({1, 1, 2, 4});
  s.cp_kind = static_cast<ContextParallel>(below(3));
  s.ep = out.model.moe ? pick({1, 2, 4}) : 1;
  s.etp = out.model.moe ? pick({1, 1, 2}) : 1;
  s.zero_dense = static_cast<int>(below(4));
  s.zero_expert = out.model.moe ? static_cast<int>(below(4)) : 0;
  s.num_optimizer_instances = pick({1, 1, 1, 2});
  s.micro_batch = pick({1, 1, 2});
  s.schedule = static_cast<Schedule>(below(8));
  s.vpp = least_vpp(s.schedule);
  if (s.num_stages() > most_stages(num_layers)) return std::nullopt;
  s.stages = even_stages(num_layers, s.num_stages());
  if (s.num_stages() > 2 && rarely()) {  // a stage in the middle has nothing
    StageLayout& empty = s.stages[1];
    s.stages.front().num_layers += std::exchange(empty.num_layers, 0);
    empty.first_layer = s.stages.front().num_layers;
  }
  if (out.model.num_mtp_modules > 0 && !rarely()) {
    s.mtp = Mtp::on;
    s.stages = with_mtp(std::move(s.stages), 1);
  }
  for (StageLayout& stage : s.stages) {
    if (rarely()) {
      stage.recompute = {RecomputeModule::full};
    } else {
      for (const RecomputeModule module : {RecomputeModule::layernorm, RecomputeModule::core_attn}) {
        if (rarely()) stage.recompute.insert(module);
      }
      if (out.model.is_mla() && rarely()) stage.recompute.insert(RecomputeModule::mla_up_proj);
      if (rarely()) stage.recompute.insert(RecomputeModule::mlp);
      if (out.model.moe && rarely()) {
        stage.recompute.insert(rarely() ? RecomputeModule::moe : RecomputeModule::moe_act);
      }
    }
    if (!stage.recompute.empty() && stage.num_layers > 1 && rarely()) stage.num_recompute_layers = 1;
  }
  if (s.ep > 1 && rarely()) s.dispatcher = static_cast<Dispatcher>(below(3));
  if (out.model.moe && rarely()) s.capacity_factor = 1.25;
  s.overlap.dp_buckets = rarely();
  s.overlap.tp = s.sp && rarely();
  s.overlap.ep_batch_level = s.ep > 1 && rarely();
  s.overlap.delayed_wgrad = rarely();
  s.overlap.shared_expert = out.model.moe && out.model.moe->shared_width > 0 && rarely();
  s.offload_optimizer = rarely();
  s.offload_activations = rarely();
  s.precision = static_cast<DType>(below(3));
  s.fp8_recipe = rarely() ? Fp8Recipe::mxfp8 : Fp8Recipe::tensorwise;
  s.fp8_activation_input = rarely();
  s.optimizer = rarely() ? OptimizerKind::muon : OptimizerKind::adamw;
  s.master_dtype = rarely() ? DType::bf16 : DType::f32;
  s.moment_dtype = rarely() ? DType::bf16 : DType::f32;
  s.grad_dtype = rarely() ? DType::bf16 : DType::f32;
  s.grad_wire_dtype = rarely() ? DType::bf16 : DType::f32;

  const std::int64_t product = s.tp * s.cp * s.pp;
  if (out.num_devices % product != 0) return std::nullopt;
  out.batch = {.seq = 64, .global_batch = out.num_devices / product * s.micro_batch * pick({1, 2, 4, 8})};
  if (rarely()) s.grad_dtype = s.grad_wire_dtype = DType::i64;
  if (!violations(out.model, s, out.batch, out.num_devices).empty()) return std::nullopt;
  return out;
}

/// Calls `use(case, index)` for `count` legal cases.
template <class Use>
void for_random_cases(std::int64_t count, Use use) {
  for (std::uint64_t index = 0; count > 0; ++index) {
    const std::optional<RandomCase> drawn = random_case(index);
    if (!drawn) continue;
    use(*drawn, index);
    --count;
  }
}

}  // namespace orrery::testing
