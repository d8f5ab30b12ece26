// SPDX-License-Identifier: Apache-2.0
#include "program/json_parts.h"
#include "program/names.h"

namespace orrery {
namespace {

void write_stage(JsonWriter& out, const StageLayout& stage) {
  out.begin_object().field("first_layer", stage.first_layer).field("num_layers", stage.num_layers);
  out.field("embedding", stage.embedding).field("head", stage.head);
  if (stage.num_mtp > 0) out.field("mtp", stage.num_mtp);
  out.key("recompute");
  if (stage.recompute == std::set<RecomputeModule>{RecomputeModule::full}) {
    out.value("full");
  } else {
    out.begin_array();
    for (const RecomputeModule module : stage.recompute) out.value(name_of(module));
    out.end_array();
  }
  if (stage.num_recompute_layers) out.field("recompute_layers", *stage.num_recompute_layers);
  out.end_object();
}

}  // namespace

void write_strategy(JsonWriter& out, const Strategy& strategy) {
  out.begin_object().field("schema", "strategy/1");
  out.field("tp", strategy.tp).field("sp", strategy.sp).field("pp", strategy.pp).field("vpp", strategy.vpp);
  out.field("cp", strategy.cp).field("cp_kind", name_of(kContextParallelNames, strategy.cp_kind));
  out.field("ep", strategy.ep).field("etp", strategy.etp);
  out.field("zero_dense", strategy.zero_dense).field("zero_expert", strategy.zero_expert);
  out.field("num_optimizer_instances", strategy.num_optimizer_instances);
  out.field("micro_batch", strategy.micro_batch).field("schedule", name_of(strategy.schedule));
  out.key("stages").begin_array();
  for (const StageLayout& stage : strategy.stages) write_stage(out, stage);
  out.end_array();
  out.field("dispatcher", name_of(kDispatcherNames, strategy.dispatcher));
  if (strategy.capacity_factor) out.field("capacity_factor", *strategy.capacity_factor);
  out.key("overlap").begin_object();
  out.field("dp_buckets", strategy.overlap.dp_buckets).field("tp", strategy.overlap.tp);
  out.field("ep_batch_level", strategy.overlap.ep_batch_level);
  out.field("delayed_wgrad", strategy.overlap.delayed_wgrad).field("shared_expert", strategy.overlap.shared_expert);
  out.end_object();
  out.field("cuda_graphs", strategy.cuda_graphs).field("offload_optimizer", strategy.offload_optimizer);
  out.field("offload_activations", strategy.offload_activations);
  out.field("precision", name_of(kFloatNames, strategy.precision));
  out.field("fp8_recipe", name_of(kFp8RecipeNames, strategy.fp8_recipe));
  out.field("fp8_activation_input", strategy.fp8_activation_input);
  out.field("optimizer", name_of(kOptimizerNames, strategy.optimizer));
  out.field("master_dtype", name_of(kFloatNames, strategy.master_dtype));
  out.field("moment_dtype", name_of(kFloatNames, strategy.moment_dtype));
  out.field("grad_dtype", name_of(kGradientNames, strategy.grad_dtype));
  out.field("grad_wire_dtype", name_of(kGradientNames, strategy.grad_wire_dtype));
  out.field("mtp", name_of(kMtpNames, strategy.mtp)).field("order", strategy.order);
  out.end_object();
}

}  // namespace orrery
