// SPDX-License-Identifier: Apache-2.0
// A change of every key of strategy/1, for tests that nothing is forgotten.
#pragma once

#include "program/json_parts.h"
#include "tests/unit/planner/exporters/export_plan.h"

#include <functional>
#include <map>
#include <set>
#include <string>

namespace orrery::testing {

using Change = std::function<void(Strategy&)>;

/// The strategy over four pipeline ranks, from where a change of stages can start.
inline void lay_on_four(Strategy& s) {
  s.pp = 4;
  s.stages = even_stages(8, 4);
}

/// A key of strategy/1 gets another value; keys of stages are "stages/...". What a target refuses in any case hides it,
/// so there may be two plans to start from.
struct StrategyChange {
  Change from = [](Strategy&) {};
  Change to;
  Change or_from = from;
};

inline std::map<std::string, StrategyChange> strategy_changes() {
  const Change four = lay_on_four;
  const Change fp8 = [](Strategy& s) { s.precision = DType::fp8; };
  const Change wide = [](Strategy& s) { s.tp = 2, s.sp = true; };
  const Change spread = [](Strategy& s) { s.ep = 4; };
  const Change sharded = [](Strategy& s) { s.ep = 4, s.zero_dense = s.zero_expert = 3; };
  const auto with = [](auto change) { return StrategyChange{.to = change}; };
  return {
      {"tp", {wide, [](Strategy& s) { s.tp = 4; }, [](Strategy&) {}}},
      {"sp", {[](Strategy& s) { s.tp = 2; }, [](Strategy& s) { s.sp = true; }}},
      {"pp", with(lay_on_four)},
      {"vpp",
       {four,
        [](Strategy& s) {
          s.vpp = 2;
          s.stages = even_stages(8, 8);
        }}},
      {"cp", with([](Strategy& s) { s.cp = 2; })},
      {"cp_kind", {[](Strategy& s) { s.cp = 2; }, [](Strategy& s) { s.cp_kind = ContextParallel::all_gather; }}},
      {"ep", with([](Strategy& s) { s.ep = 4; })},
      {"etp", with([](Strategy& s) { s.etp = 2; })},
      {"zero_dense", with([](Strategy& s) { s.zero_dense = 1; })},
      {"zero_expert", with([](Strategy& s) { s.zero_expert = 1; })},
      {"num_optimizer_instances",
       {[](Strategy& s) { s.zero_dense = s.zero_expert = 3; }, [](Strategy& s) { s.num_optimizer_instances = 2; }}},
      {"micro_batch", with([](Strategy& s) { s.micro_batch = 2; })},
      {"schedule", {four, [](Strategy& s) { s.schedule = Schedule::gpipe; }}},
      {"stages/first_layer",
       {four,
        [](Strategy& s) {
          s.stages[0].num_layers = 3;
          s.stages[1].first_layer = 3;
          s.stages[1].num_layers = 1;
        }}},
      {"stages/recompute", with([](Strategy& s) { s.stages[0].recompute = {RecomputeModule::core_attn}; })},
      {"stages/recompute_layers",
       {[](Strategy& s) { s.stages[0].recompute = {RecomputeModule::full}; },
        [](Strategy& s) { s.stages[0].num_recompute_layers = 3; }}},
      {"dispatcher", {spread, [](Strategy& s) { s.dispatcher = Dispatcher::two_level; }, sharded}},
      {"capacity_factor", with([](Strategy& s) { s.capacity_factor = 1.5; })},
      {"overlap/dp_buckets", with([](Strategy& s) { s.overlap.dp_buckets = true; })},
      {"overlap/tp", {wide, [](Strategy& s) { s.overlap.tp = true; }}},
      {"overlap/ep_batch_level", {spread, [](Strategy& s) { s.overlap.ep_batch_level = true; }}},
      {"overlap/delayed_wgrad", with([](Strategy& s) { s.overlap.delayed_wgrad = true; })},
      {"overlap/shared_expert", with([](Strategy& s) { s.overlap.shared_expert = true; })},
      {"cuda_graphs", with([](Strategy& s) { s.cuda_graphs = true; })},
      {"offload_optimizer", with([](Strategy& s) { s.offload_optimizer = true; })},
      {"offload_activations", with([](Strategy& s) { s.offload_activations = true; })},
      {"precision", with([](Strategy& s) { s.precision = DType::f32; })},
      {"fp8_recipe", {fp8, [](Strategy& s) { s.fp8_recipe = Fp8Recipe::tensorwise; }, [](Strategy&) {}}},
      {"fp8_activation_input", with([](Strategy& s) { s.fp8_activation_input = true; })},
      {"optimizer", with([](Strategy& s) { s.optimizer = OptimizerKind::muon; })},
      {"master_dtype", with([](Strategy& s) { s.master_dtype = DType::bf16; })},
      {"moment_dtype", with([](Strategy& s) { s.moment_dtype = DType::bf16; })},
      {"grad_dtype", with([](Strategy& s) { s.grad_dtype = DType::bf16; })},
      {"grad_wire_dtype", with([](Strategy& s) { s.grad_wire_dtype = DType::bf16; })},
      {"mtp", with([](Strategy& s) {
         s.mtp = Mtp::on;
         s.stages = with_mtp(s.stages, 1);
       })},
      {"order", with([](Strategy& s) { s.order = "tp-cp-ep-pp-dp"; })},
  };
}

/// The keys that strategy/1 has, from what writes it.
inline std::set<std::string> keys_of_strategy() {
  Strategy strategy = plan_to_export().strategy;
  strategy.capacity_factor = 1.0;
  strategy.stages[0].recompute = {RecomputeModule::full};
  strategy.stages[0].num_recompute_layers = 1;
  JsonWriter out;
  write_strategy(out, strategy);
  std::set<std::string> keys;
  std::string prefix;
  for (std::size_t at = 0; (at = out.text().find('"', at)) != std::string::npos;) {
    const std::size_t end = out.text().find('"', at + 1);
    const std::string word = out.text().substr(at + 1, end - at - 1);
    if (out.text()[end + 1] == ':') {
      if (word == "dispatcher" || word == "cuda_graphs") prefix.clear();
      keys.insert(prefix + word);
      if (word == "stages" || word == "overlap") prefix = word + "/";
    }
    at = end + 1;
  }
  // What says where the object's own keys begin, and what follows from the layout.
  for (const char* key : {"schema", "stages", "overlap", "stages/embedding", "stages/head", "stages/num_layers"}) {
    keys.erase(key);
  }
  return keys;
}

}  // namespace orrery::testing
