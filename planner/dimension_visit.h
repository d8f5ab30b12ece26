// SPDX-License-Identifier: Apache-2.0
// The dimensions of a search by name: one list for whoever shows the values of each or takes some of them out.
#pragma once

#include "planner/domains.h"
#include "planner/on_demand.h"
#include "program/names.h"

#include <set>
#include <string>
#include <string_view>

namespace orrery::planner {

/// "none", or names of modules joined by "+".
std::string modules_text(const std::set<RecomputeModule>& modules);

/// Calls `visit(name, values, text)` for each dimension but the layouts; `text` gives a value as users write it.
/// `domains`: Domains, const or not.
template <class D, class Visit>
void visit_dimensions(D& domains, Visit&& visit) {
  const auto number = [](auto value) { return std::to_string(value); };
  const auto of = [](const auto& table) { return [&table](auto value) { return std::string(name_of(table, value)); }; };
  visit("tp", domains.tp, number);
  visit("cp", domains.cp, number);
  visit("cp_kind", domains.cp_kind, of(kContextParallelNames));
  visit("pp", domains.pp, number);
  visit("vpp", domains.vpp, number);
  visit("ep", domains.ep, number);
  visit("etp", domains.etp, number);
  visit("micro_batch", domains.micro_batch, number);
  visit("dispatcher", domains.dispatcher, of(kDispatcherNames));
  visit("schedule", domains.schedule, [](Schedule value) { return std::string(name_of(value)); });
  visit("zero_dense", domains.zero_dense, number);
  visit("zero_expert", domains.zero_expert, number);
  visit("num_optimizer_instances", domains.num_optimizer_instances, number);
  visit("overlap.dp_buckets", domains.dp_buckets, number);
  visit("overlap.tp", domains.overlap_tp, number);
  visit("overlap.ep_batch_level", domains.ep_batch_level, number);
  visit("overlap.delayed_wgrad", domains.delayed_wgrad, number);
  visit("overlap.shared_expert", domains.shared_expert, number);
  visit("offload_optimizer", domains.offload_optimizer, number);
  visit("offload_activations", domains.offload_activations, number);
  visit("recompute", domains.recompute, modules_text);
  visit("order", domains.order, [](std::string_view value) { return std::string(value); });
  visit_on_demand(domains,
                  [&](std::string_view name, auto& values, auto text, const auto&) { visit(name, values, text); });
}

}  // namespace orrery::planner
