// SPDX-License-Identifier: Apache-2.0
// Dimensions that a search leaves as the user states them, until a condition lists values of them
// ("precision=bf16,fp8"). Most change what is trained: precision, optimizer, the types of states, gradients and
// messages, dropped rows, prediction modules. CUDA graphs change nothing, but where the router decides how many rows
// there are, no graph can hold them whole, and the cost model's price, 0.06 of the host's time for the memory of
// static inputs, is too low.
#pragma once

#include "planner/domains.h"
#include "program/names.h"

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace orrery::planner {

/// A capacity factor, or "none".
std::string factor_text(std::optional<double> factor);

/// Calls `visit(name, values, text, all)` for each of them; `all`: what a condition may list.
/// `domains`: Domains, const or not.
template <class D, class Visit>
void visit_on_demand(D& domains, Visit&& visit) {
  const auto number = [](int value) { return std::to_string(value); };
  const auto named = [&](std::string_view name, auto& values, const auto& table) {
    std::remove_cvref_t<decltype(values)> all;
    for (const auto& entry : table) all.push_back(entry.value);
    visit(name, values, [&table](auto value) { return std::string(name_of(table, value)); }, all);
  };
  const std::vector<int> flags = {0, 1};
  visit("cuda_graphs", domains.cuda_graphs, number, flags);
  named("precision", domains.precision, kFloatNames);
  named("fp8_recipe", domains.fp8_recipe, kFp8RecipeNames);
  visit("fp8_activation_input", domains.fp8_activation_input, number, flags);
  named("optimizer", domains.optimizer, kOptimizerNames);
  named("master_dtype", domains.master_dtype, kFloatNames);
  named("moment_dtype", domains.moment_dtype, kFloatNames);
  named("grad_dtype", domains.grad_dtype, kGradientNames);
  named("grad_wire_dtype", domains.grad_wire_dtype, kGradientNames);
  const std::vector<std::optional<double>> factors = {std::nullopt, 1.0, 1.25, 1.5, 2.0};
  visit("capacity_factor", domains.capacity_factor, factor_text, factors);
  named("mtp", domains.mtp, kMtpNames);
}

bool is_on_demand(std::string_view name);

/// Gives each of them the one value that the base has.
void take_from_base(Domains& domains);

/// The base under all choices of them, in their order, CUDA graphs apart: what a family is searched for. Ways to scale
/// fp8 operands where there are none are left out.
std::vector<Strategy> bases_of(const Domains& domains);

/// Takes out of the other dimensions what none of these choices allows, if something is left: Muon shards no gradients,
/// and rows are dropped of one dispatcher alone.
void drop_what_none_allows(Domains& domains);

}  // namespace orrery::planner
