// SPDX-License-Identifier: Apache-2.0
#include "planner/replan/neighbourhood.h"

#include "planner/on_demand.h"
#include "program/rank_devices.h"

#include <algorithm>
#include <set>
#include <utility>

namespace orrery::planner {
namespace {

using Modules = std::set<RecomputeModule>;

/// Keeps the values that `wanted` holds for, if there are any.
template <class T, class Wanted>
void keep_if(std::vector<T>& values, Wanted wanted) {
  if (std::any_of(values.begin(), values.end(), wanted)) {
    std::erase_if(values, [&](const T& value) { return !wanted(value); });
  }
}

template <class T>
void keep(std::vector<T>& values, const T& value) {
  keep_if(values, [&](const T& other) { return other == value; });
}

void keep_between(std::vector<std::int64_t>& values, std::int64_t first, std::int64_t last) {
  keep_if(values, [&](std::int64_t value) { return value >= first && value <= last; });
}

std::vector<std::int64_t> up_to(std::int64_t last) {
  std::vector<std::int64_t> values;
  for (std::int64_t value = 1; value <= last; ++value) values.push_back(value);
  return values;
}

/// Whether `modules` are those of a stage, or those and one more.
bool is_near(const Modules& modules, const Strategy& old) {
  if (modules.empty() || modules.contains(RecomputeModule::full)) return true;
  return std::any_of(old.stages.begin(), old.stages.end(), [&](const StageLayout& stage) {
    return std::includes(modules.begin(), modules.end(), stage.recompute.begin(), stage.recompute.end()) &&
           modules.size() <= stage.recompute.size() + 1;
  });
}

}  // namespace

Domains domains_of_any_world(const Model& model, const Cluster& cluster, const BatchShape& batch,
                             const Strategy& base) {
  Domains d = domains_of(model, cluster, batch, base);
  // The largest divisor is as large as any value may be; of one value, others are no choice.
  for (std::vector<std::int64_t>* degrees : {&d.tp, &d.cp, &d.etp}) *degrees = up_to(degrees->back());
  d.pp = up_to(std::min(model.num_layers(), cluster.num_devices()));
  d.order = {kRankOrders.front()};  // devices of ranks are listed
  return d;
}

Domains only(const Strategy& s) {
  const auto flag = [](bool on) { return std::vector<int>{on ? 1 : 0}; };
  Domains d{.tp = {s.tp},
            .cp = {s.cp},
            .pp = {s.pp},
            .vpp = {s.vpp},
            .ep = {s.ep},
            .etp = {s.etp},
            .micro_batch = {s.micro_batch},
            .cp_kind = {s.cp_kind},
            .dispatcher = {s.dispatcher},
            .schedule = {s.schedule},
            .zero_dense = {s.zero_dense},
            .zero_expert = {s.zero_expert},
            .num_optimizer_instances = {s.num_optimizer_instances},
            .dp_buckets = flag(s.overlap.dp_buckets),
            .overlap_tp = flag(s.overlap.tp),
            .ep_batch_level = flag(s.overlap.ep_batch_level),
            .delayed_wgrad = flag(s.overlap.delayed_wgrad),
            .shared_expert = flag(s.overlap.shared_expert),
            .offload_optimizer = flag(s.offload_optimizer),
            .offload_activations = flag(s.offload_activations),
            .recompute = {{}},
            .layouts = {{.kind = Layout::Kind::listed, .listed = s.stages}},
            .order = {kRankOrders.front()},
            .base = s};
  d.base.stages.clear();
  d.base.order = d.order.front();
  take_from_base(d);
  return d;
}

Domains near(Domains all, const Strategy& old) {
  Domains d = std::move(all);
  keep(d.tp, old.tp);
  keep(d.cp, old.cp);
  keep(d.etp, old.etp);
  keep(d.micro_batch, old.micro_batch);
  if (old.cp > 1) keep(d.cp_kind, old.cp_kind);
  if (old.ep > 1) keep(d.dispatcher, old.dispatcher);
  keep(d.zero_dense, old.zero_dense);
  keep(d.zero_expert, old.zero_expert);
  keep(d.num_optimizer_instances, old.num_optimizer_instances);
  keep(d.cuda_graphs, old.cuda_graphs ? 1 : 0);
  keep(d.dp_buckets, old.overlap.dp_buckets ? 1 : 0);
  keep(d.overlap_tp, old.overlap.tp ? 1 : 0);
  keep(d.ep_batch_level, old.overlap.ep_batch_level ? 1 : 0);
  keep(d.delayed_wgrad, old.overlap.delayed_wgrad ? 1 : 0);
  keep(d.shared_expert, old.overlap.shared_expert ? 1 : 0);
  keep(d.offload_optimizer, old.offload_optimizer ? 1 : 0);
  keep(d.offload_activations, old.offload_activations ? 1 : 0);
  keep_between(d.ep, std::max<std::int64_t>(old.ep / 8, 1), 2 * old.ep);
  keep_between(d.pp, std::max<std::int64_t>(old.pp / 2, 1), 4 * old.pp);
  keep_between(d.vpp, 1, std::max<std::int64_t>(old.vpp + 1, 2));
  keep_if(d.schedule, [&](Schedule schedule) {
    return schedule == old.schedule || schedule == Schedule::one_f_one_b || schedule == Schedule::interleaved;
  });
  keep_if(d.recompute, [&](const Modules& modules) { return is_near(modules, old); });
  keep_if(d.layouts, [](const Layout& layout) {
    return layout.kind == Layout::Kind::even || layout.kind == Layout::Kind::equal_time ||
           layout.kind == Layout::Kind::listed;
  });
  return d;
}

void keep_what_divides(Domains& domains, std::span<const std::int64_t> worlds) {
  for (std::vector<std::int64_t>* degrees : {&domains.tp, &domains.cp, &domains.pp, &domains.ep, &domains.etp}) {
    std::erase_if(*degrees, [&](std::int64_t degree) {
      return std::none_of(worlds.begin(), worlds.end(), [&](std::int64_t world) { return world % degree == 0; });
    });
  }
}

bool can_split(const Domains& domains, const BatchShape& batch, std::int64_t num_devices) {
  const auto any = [](const std::vector<std::int64_t>& values, auto holds) {
    return std::any_of(values.begin(), values.end(), holds);
  };
  return any(domains.pp, [&](std::int64_t pp) {
    const bool holds_experts = any(domains.ep, [&](std::int64_t ep) {
      return any(domains.etp, [&](std::int64_t etp) { return num_devices % (etp * ep * pp) == 0; });
    });
    return holds_experts && any(domains.tp, [&](std::int64_t tp) {
             return any(domains.cp, [&](std::int64_t cp) {
               if (num_devices % (tp * cp * pp) != 0) return false;
               const std::int64_t dp = num_devices / (tp * cp * pp);
               return any(domains.micro_batch,
                          [&](std::int64_t micro_batch) { return batch.global_batch % (dp * micro_batch) == 0; });
             });
           });
  });
}

std::vector<Certificate::Dimension> manifest_near(const Domains& domains, const Domains& all, std::string_view claim) {
  std::vector<Certificate::Dimension> out = domains.manifest(claim);
  const std::vector<Certificate::Dimension> whole = all.manifest(claim);
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (out[i].domain == whole[i].domain) continue;
    const bool is_one = out[i].domain.find(' ') == std::string::npos;
    out[i].claim = is_one ? "kept from the old plan" : out[i].claim + ", near the old plan";
  }
  return out;
}

}  // namespace orrery::planner
