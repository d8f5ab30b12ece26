// SPDX-License-Identifier: Apache-2.0
#include "planner/domains.h"

#include "base/check.h"
#include "planner/dimension_visit.h"
#include "planner/divisors.h"
#include "planner/on_demand.h"
#include "program/legality.h"
#include "program/rank_devices.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace orrery::planner {
namespace {

constexpr std::int64_t kLeastTokens = 512;  // of a sequence on a rank, with context parallelism
constexpr std::int64_t kMostSequences = 16;
constexpr std::int64_t kMostChunks = 8;

std::vector<std::int64_t> up_to(std::int64_t last) {
  std::vector<std::int64_t> all;
  for (std::int64_t i = 1; i <= last; ++i) all.push_back(i);
  return all;
}

bool is_legal_on_one_stage(const std::set<RecomputeModule>& modules, const Model& model) {
  Strategy strategy;
  strategy.stages = even_stages(model.num_layers(), 1);
  strategy.stages.front().recompute = modules;
  return violations(model, strategy, {.seq = 1, .global_batch = 1}, 1).empty();
}

std::string text_of(Layout::Kind kind) {
  switch (kind) {
    case Layout::Kind::even:
      return "even";
    case Layout::Kind::fewer_first:
      return "one layer less on the first";
    case Layout::Kind::fewer_last:
      return "on the last";
    case Layout::Kind::fewer_both:
      return "on both";
    case Layout::Kind::equal_time:
      return "in equal time";
    case Layout::Kind::listed:
      return "as listed by the user";
    case Layout::Kind::least_bottleneck:
      return "by dynamic programming";
  }
  return "?";
}

/// What a calibration of CPU ranks has measured: neither tensor nor context parallelism, nor copies.
void keep_what_cpus_measure(Domains& d) {
  d.tp = d.cp = d.etp = d.vpp = {1};
  d.most_chunks = 1;
  d.cp_kind = {ContextParallel::ring};
  d.dispatcher = {Dispatcher::all_to_all};
  d.schedule = {Schedule::one_f_one_b, Schedule::gpipe};
  d.zero_dense = d.zero_expert = {0, 1};
  d.dp_buckets = d.overlap_tp = d.ep_batch_level = d.delayed_wgrad = d.shared_expert = {0};
  d.offload_optimizer = d.offload_activations = {0};
  d.num_optimizer_instances = {1};
  d.cuda_graphs = {0};
}

}  // namespace

std::string modules_text(const std::set<RecomputeModule>& modules) {
  std::vector<std::string_view> names;
  for (const RecomputeModule module : modules) names.push_back(name_of(module));
  return names.empty() ? "none" : fmt::format("{}", fmt::join(names, "+"));
}

std::vector<std::set<RecomputeModule>> recompute_choices(const Model& model) {
  std::vector<RecomputeModule> modules;
  for (const auto& [name, module] : kRecomputeModuleNames) {
    if (is_legal_on_one_stage({module}, model)) modules.push_back(module);
  }
  std::vector<std::set<RecomputeModule>> choices;
  for (std::uint32_t mask = 0; mask < (1U << modules.size()); ++mask) {
    std::set<RecomputeModule> choice;
    for (std::size_t i = 0; i < modules.size(); ++i) {
      if ((mask >> i & 1U) != 0) choice.insert(modules[i]);
    }
    if (is_legal_on_one_stage(choice, model)) choices.push_back(std::move(choice));
  }
  std::stable_sort(choices.begin(), choices.end(), [](const auto& a, const auto& b) { return a.size() < b.size(); });
  return choices;
}

bool graphs_hold_a_step(const Model& model, const Strategy& strategy) {
  return !model.moe || strategy.capacity_factor.has_value();
}

Domains domains_of(const Model& model, const Cluster& cluster, const BatchShape& batch, Strategy base) {
  const std::int64_t num_devices = cluster.num_devices();
  CHECK(num_devices >= 1, num_devices);
  const NodeGroup& group = cluster.groups.front();
  const std::int64_t domain = group.devices_per_node * group.scale_up.span_nodes;
  const bool has_shared = model.moe && model.moe->shared_width > 0;
  Domains d;
  d.tp = divisors(num_devices, domain);
  d.cp = divisors(num_devices, std::max<std::int64_t>(batch.seq / kLeastTokens, 1));
  d.pp = divisors(num_devices, most_stages(model.num_layers()));
  d.vpp = up_to(std::min(kMostChunks, model.num_layers()));
  d.ep = model.moe ? divisors(model.moe->num_experts, num_devices) : std::vector<std::int64_t>{1};
  d.etp = model.moe ? divisors(num_devices, domain) : std::vector<std::int64_t>{1};
  for (std::int64_t size = 1; size <= kMostSequences && batch.global_batch % size == 0; size *= 2) {
    d.micro_batch.push_back(size);
  }
  d.most_chunks = most_stages(model.num_layers());
  d.global_batch = batch.global_batch;
  d.cp_kind = {ContextParallel::ring, ContextParallel::all_gather, ContextParallel::ulysses};
  d.dispatcher = {Dispatcher::all_to_all};
  if (model.moe) d.dispatcher = {Dispatcher::all_to_all, Dispatcher::all_gather, Dispatcher::two_level};
  d.schedule = {Schedule::one_f_one_b, Schedule::gpipe, Schedule::interleaved, Schedule::zb_h1,
                Schedule::zb_h2,       Schedule::zbv,   Schedule::dualpipe,    Schedule::dualpipev};
  d.zero_dense = {0, 1, 2, 3};
  d.zero_expert = model.moe ? std::vector<int>{0, 1, 2, 3} : std::vector<int>{0};
  d.num_optimizer_instances = divisors(num_devices, std::max<std::int64_t>(num_devices / domain, 1));
  d.dp_buckets = d.overlap_tp = d.offload_optimizer = d.offload_activations = {0, 1};
  d.ep_batch_level = model.moe ? std::vector<int>{0, 1} : std::vector<int>{0};
  d.delayed_wgrad = {0, 1};
  d.shared_expert = has_shared ? std::vector<int>{0, 1} : std::vector<int>{0};
  d.recompute = recompute_choices(model);
  using Kind = Layout::Kind;
  d.layouts = {{Kind::even}, {Kind::fewer_first}, {Kind::fewer_last}, {Kind::fewer_both}, {Kind::equal_time}};
  std::vector<StageLayout> listed = std::exchange(base.stages, {});
  const auto num_listed = static_cast<std::int64_t>(listed.size());
  if (num_listed > 0 && listed != even_stages(model.num_layers(), num_listed)) {
    d.layouts.push_back({Kind::listed, std::move(listed)});
  }
  d.layouts.push_back({Kind::least_bottleneck});
  if (base.mtp == Mtp::on && model.num_mtp_modules == 0) base.mtp = Mtp::off;
  d.order = {kRankOrders.begin(), kRankOrders.end()};
  if (num_devices <= domain || group.device.kind == DeviceKind::cpu) d.order.resize(1);
  base.order = d.order.front();
  d.base = std::move(base);
  take_from_base(d);
  if (graphs_hold_a_step(model, d.base)) d.cuda_graphs = {0, 1};
  if (group.device.kind == DeviceKind::cpu) keep_what_cpus_measure(d);
  return d;
}

std::vector<StageLayout> stages_of_layout(const Model& model, const Layout& layout, const Strategy& strategy) {
  const std::int64_t num_stages = strategy.num_stages(), num_layers = model.num_layers();
  if (num_stages > most_stages(num_layers) || layout.kind == Layout::Kind::least_bottleneck) return {};
  const bool first = layout.kind == Layout::Kind::fewer_first || layout.kind == Layout::Kind::fewer_both;
  const bool last = layout.kind == Layout::Kind::fewer_last || layout.kind == Layout::Kind::fewer_both;
  std::vector<StageLayout> stages;
  if (layout.kind == Layout::Kind::listed) {
    if (static_cast<std::int64_t>(layout.listed.size()) != num_stages) return {};
    return layout.listed;
  }
  stages = even_stages(num_layers, num_stages, first, last);
  // Where an end has no layer to spare, or there is no middle, this is a layout that came before.
  const bool repeats = (first || last) && stages == even_stages(num_layers, num_stages);
  const bool repeats_one_end = first && last &&
                               (stages == even_stages(num_layers, num_stages, true, false) ||
                                stages == even_stages(num_layers, num_stages, false, true));
  if (repeats || repeats_one_end) return {};
  return strategy.mtp == Mtp::on ? with_mtp(std::move(stages), model.num_mtp_modules) : stages;
}

std::vector<Certificate::Dimension> Domains::manifest(std::string_view claim) const {
  const std::string how(claim);
  std::vector<Certificate::Dimension> out;
  visit_dimensions(*this, [&](std::string_view name, const auto& values, auto text) {
    std::vector<std::string> texts;
    for (const auto& value : values) texts.push_back(text(value));
    out.push_back({std::string(name), fmt::format("{}", fmt::join(texts, " ")), how});
    if (name == "tp") out.push_back({"sp", "with tp", how});
    if (name == "etp") out.push_back({"dp", "devices / (tp cp pp)", how});
    if (name == "recompute") out.back().claim += ", per rank the fastest that fits";
    if (name == "order" && values.size() > 1) {
      out.back().claim = "heuristic: others than the first on what was run in it, whose gap is stated";
    }
    if (name == "num_optimizer_instances" && values.size() > 1) {
      out.back().claim += ", others than the first where ZeRO 2 or 3 exchanges in slots";
    }
    if (name == "cuda_graphs" && values.size() > 1) out.back().claim += ", both but beside pairs";
    if (is_on_demand(name) && values.size() == 1) out.back().claim = "as stated: a condition may list others";
  });
  std::vector<std::string> layout_texts;
  for (const Layout& layout : layouts) layout_texts.push_back(text_of(layout.kind));
  out.push_back({"stages", fmt::format("{}", fmt::join(layout_texts, ", ")), how});
  return out;
}

}  // namespace orrery::planner
