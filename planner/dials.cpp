// SPDX-License-Identifier: Apache-2.0
#include "planner/dials.h"

#include "planner/even_layout.h"
#include "program/names.h"
#include "program/rank_devices.h"

#include <fmt/format.h>

namespace orrery::planner {
namespace {

template <class E, std::size_t N>
std::vector<Choice> choices(const Named<E> (&names)[N], E Strategy::* member) {
  std::vector<Choice> out;
  for (const Named<E>& named : names) {
    out.push_back({fmt::format("\"{}\"", named.name), [=](Strategy& s) { s.*member = named.value; }});
  }
  return out;
}

template <class Set>
std::vector<Choice> on_or_off(Set set) {
  return {{"false", [=](Strategy& s) { set(s) = false; }}, {"true", [=](Strategy& s) { set(s) = true; }}};
}

std::vector<Choice> zero_stages(int Strategy::* member) {
  std::vector<Choice> out;
  for (int zero = 0; zero <= 3; ++zero) {
    out.push_back({std::to_string(zero), [=](Strategy& s) { s.*member = zero; }});
  }
  return out;
}

std::vector<Choice> rank_orders() {
  std::vector<Choice> out;
  for (const std::string_view order : kRankOrders) {
    out.push_back({fmt::format("\"{}\"", order), [order](Strategy& s) { s.order = order; }});
  }
  return out;
}

}  // namespace

const std::map<std::string, IntegerDial>& integer_dials() {
  static const auto field = [](std::int64_t Strategy::* member) {
    return [member](Attempt& attempt) -> std::int64_t& { return attempt.strategy.*member; };
  };
  static const std::map<std::string, IntegerDial> integers = {
      {"tp", field(&Strategy::tp)},
      {"pp", field(&Strategy::pp)},
      {"vpp", field(&Strategy::vpp)},
      {"cp", field(&Strategy::cp)},
      {"ep", field(&Strategy::ep)},
      {"etp", field(&Strategy::etp)},
      {"micro_batch", field(&Strategy::micro_batch)},
      {"num_optimizer_instances", field(&Strategy::num_optimizer_instances)},
      {"global_batch", [](Attempt& attempt) -> std::int64_t& { return attempt.batch.global_batch; }},
  };
  return integers;
}

const std::map<std::string, std::vector<Choice>>& choice_dials() {
  static const std::map<std::string, std::vector<Choice>> choices_of = {
      {"sp", on_or_off([](Strategy& s) -> bool& { return s.sp; })},
      {"cp_kind", choices(kContextParallelNames, &Strategy::cp_kind)},
      {"zero_dense", zero_stages(&Strategy::zero_dense)},
      {"zero_expert", zero_stages(&Strategy::zero_expert)},
      {"schedule", choices(kScheduleNames, &Strategy::schedule)},
      {"dispatcher", choices(kDispatcherNames, &Strategy::dispatcher)},
      {"overlap/dp_buckets", on_or_off([](Strategy& s) -> bool& { return s.overlap.dp_buckets; })},
      {"overlap/tp", on_or_off([](Strategy& s) -> bool& { return s.overlap.tp; })},
      {"overlap/ep_batch_level", on_or_off([](Strategy& s) -> bool& { return s.overlap.ep_batch_level; })},
      {"overlap/shared_expert", on_or_off([](Strategy& s) -> bool& { return s.overlap.shared_expert; })},
      {"overlap/delayed_wgrad", on_or_off([](Strategy& s) -> bool& { return s.overlap.delayed_wgrad; })},
      {"cuda_graphs", on_or_off([](Strategy& s) -> bool& { return s.cuda_graphs; })},
      {"offload_optimizer", on_or_off([](Strategy& s) -> bool& { return s.offload_optimizer; })},
      {"offload_activations", on_or_off([](Strategy& s) -> bool& { return s.offload_activations; })},
      {"precision", choices(kFloatNames, &Strategy::precision)},
      {"fp8_recipe", choices(kFp8RecipeNames, &Strategy::fp8_recipe)},
      {"fp8_activation_input", on_or_off([](Strategy& s) -> bool& { return s.fp8_activation_input; })},
      {"optimizer", choices(kOptimizerNames, &Strategy::optimizer)},
      {"master_dtype", choices(kFloatNames, &Strategy::master_dtype)},
      {"moment_dtype", choices(kFloatNames, &Strategy::moment_dtype)},
      {"grad_dtype", choices(kGradientNames, &Strategy::grad_dtype)},
      {"grad_wire_dtype", choices(kGradientNames, &Strategy::grad_wire_dtype)},
      {"mtp", choices(kMtpNames, &Strategy::mtp)},
      {"order", rank_orders()},
  };
  return choices_of;
}

bool lay_stages(const Plan& plan, Strategy& s) {
  if (s.num_stages() == plan.strategy.num_stages() && s.mtp == plan.strategy.mtp) return true;
  if (s.stages.empty() || s.num_stages() < 1 || s.num_stages() > most_stages(plan.model.num_layers())) return false;
  lay_evenly(s, plan.model);
  return true;
}

}  // namespace orrery::planner
