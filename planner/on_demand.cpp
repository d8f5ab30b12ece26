// SPDX-License-Identifier: Apache-2.0
#include "planner/on_demand.h"

#include <algorithm>
#include <functional>
#include <utility>

#include <fmt/format.h>

namespace orrery::planner {
namespace {

/// Each of `bases` with each of `values`; where `matters` does not hold, with the first alone.
template <class Value, class Set, class Matters>
void multiply(std::vector<Strategy>& bases, const std::vector<Value>& values, Set set, Matters matters) {
  std::vector<Strategy> out;
  for (const Strategy& base : bases) {
    for (const Value& value : values) {
      set(out.emplace_back(base), value);
      if (!matters(base)) break;
    }
  }
  bases = std::move(out);
}

bool always(const Strategy&) { return true; }

template <class Value, class Field>
void multiply(std::vector<Strategy>& bases, const std::vector<Value>& values, Field Strategy::* field) {
  multiply(bases, values, [&](Strategy& s, const Value& value) { s.*field = value; }, always);
}

template <class Value>
void keep_if_any(std::vector<Value>& values, auto wanted) {
  if (std::any_of(values.begin(), values.end(), wanted)) std::erase_if(values, std::not_fn(wanted));
}

}  // namespace

std::string factor_text(std::optional<double> factor) { return factor ? fmt::format("{}", *factor) : "none"; }

bool is_on_demand(std::string_view name) {
  const Domains none;
  bool found = false;
  visit_on_demand(none,
                  [&](std::string_view other, const auto&, auto, const auto&) { found = found || other == name; });
  return found;
}

void take_from_base(Domains& d) {
  const Strategy& base = d.base;
  d.cuda_graphs = {base.cuda_graphs ? 1 : 0};
  d.precision = {base.precision};
  d.fp8_recipe = {base.fp8_recipe};
  d.fp8_activation_input = {base.fp8_activation_input ? 1 : 0};
  d.optimizer = {base.optimizer};
  d.master_dtype = {base.master_dtype};
  d.moment_dtype = {base.moment_dtype};
  d.grad_dtype = {base.grad_dtype};
  d.grad_wire_dtype = {base.grad_wire_dtype};
  d.capacity_factor = {base.capacity_factor};
  d.mtp = {base.mtp};
}

std::vector<Strategy> bases_of(const Domains& d) {
  std::vector<Strategy> bases = {d.base};
  const auto in_fp8 = [](const Strategy& s) { return s.precision == DType::fp8; };
  multiply(bases, d.precision, &Strategy::precision);
  multiply(bases, d.fp8_recipe, [](Strategy& s, Fp8Recipe recipe) { s.fp8_recipe = recipe; }, in_fp8);
  multiply(bases, d.fp8_activation_input, [](Strategy& s, int on) { s.fp8_activation_input = on != 0; }, always);
  multiply(bases, d.optimizer, &Strategy::optimizer);
  multiply(bases, d.master_dtype, &Strategy::master_dtype);
  multiply(bases, d.moment_dtype, &Strategy::moment_dtype);
  multiply(bases, d.grad_dtype, &Strategy::grad_dtype);
  multiply(bases, d.grad_wire_dtype, &Strategy::grad_wire_dtype);
  multiply(bases, d.capacity_factor, &Strategy::capacity_factor);
  multiply(bases, d.mtp, &Strategy::mtp);
  return bases;
}

void drop_what_none_allows(Domains& d) {
  const auto all = [](const auto& values, auto holds) { return std::all_of(values.begin(), values.end(), holds); };
  if (all(d.optimizer, [](OptimizerKind kind) { return kind == OptimizerKind::muon; })) {
    for (std::vector<int>* zero : {&d.zero_dense, &d.zero_expert}) {
      keep_if_any(*zero, [](int stage) { return stage < 2; });
    }
  }
  if (all(d.capacity_factor, [](const std::optional<double>& factor) { return factor.has_value(); })) {
    keep_if_any(d.dispatcher, [](Dispatcher kind) { return kind == Dispatcher::all_to_all; });
  }
}

}  // namespace orrery::planner
