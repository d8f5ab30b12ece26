// SPDX-License-Identifier: Apache-2.0
#include "planner/pipeline_scan.h"

#include "costmodel/forwarding_cost_model.h"
#include "planner/stage_balance.h"
#include "program/legality.h"
#include "program/schedule.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <span>
#include <utility>

namespace orrery::planner {
namespace {

bool has_whole_backwards(Schedule schedule) {
  return schedule == Schedule::gpipe || schedule == Schedule::one_f_one_b || schedule == Schedule::interleaved;
}

/// Values of `vpp` that a schedule has an order for.
std::vector<std::int64_t> chunks_of(Schedule schedule, const std::vector<std::int64_t>& domain) {
  const bool folds = schedule == Schedule::zbv || schedule == Schedule::dualpipev;
  std::vector<std::int64_t> chunks;
  std::copy_if(domain.begin(), domain.end(), std::back_inserter(chunks), [&](std::int64_t v) {
    return folds ? v == 2 : schedule == Schedule::interleaved ? v > 1 : v == 1;
  });
  return chunks;
}

/// Micro-batches that each pipeline rank runs, over the number of pipeline ranks: however long the pipeline is.
double micro_batches_per_stage(const FamilyContext& c, const Strategy& s) {
  return static_cast<double>(c.batch.global_batch) * static_cast<double>(s.tp * s.cp) /
         (static_cast<double>(c.num_devices) * static_cast<double>(s.micro_batch));
}

/// Flags that act within a slot, where the operators have something that they act on.
std::vector<Overlap> overlaps_of(const Domains& d, const Strategy& s) {
  std::vector<Overlap> out;
  for (const int tp : d.overlap_tp) {
    if (tp != 0 && !s.sp) continue;
    for (const int wgrad : d.delayed_wgrad) {
      for (const int shared : d.shared_expert) {
        if (shared != 0 && s.ep == 1) continue;
        out.push_back({.tp = tp != 0, .delayed_wgrad = wgrad != 0, .shared_expert = shared != 0});
      }
    }
  }
  return out;
}

/// Communication takes no time, and the host is never late.
class ArithmeticAlone : public costmodel::ForwardingCostModel {
 public:
  using ForwardingCostModel::ForwardingCostModel;

  costmodel::CommTime collective(const CollectiveShape&, std::span<const DeviceIndex>) const override { return {}; }
  costmodel::CommTime exchange(const ExchangeShape&, const RoutingMatrix&,
                               std::span<const DeviceIndex>) const override {
    return {};
  }
  costmodel::CommTime copy(const CopyShape&, DeviceIndex) const override { return {}; }
  costmodel::CommTime peer(const PeerShape&, DeviceIndex, DeviceIndex) const override { return {}; }
  costmodel::OverlapRule overlap(DeviceIndex) const override { return {}; }
  Seconds dispatch(const OpKey&, const OpShape&) const override { return {}; }
};

class Scan {
 public:
  Scan(const FamilyContext& context, const Strategy& operators, const costmodel::CostModel& cost, Seconds cutoff,
       std::size_t room)
      : c_(context), operators_(operators), cost_(cost), cutoff_(cutoff), room_(room) {}

  ScanResult run() {
    for (const Overlap& overlap : overlaps_of(c_.domains, operators_)) {
      for (const Schedule schedule : c_.domains.schedule) {
        for (const int pairs : c_.domains.ep_batch_level) {
          if (pairs != 0 && (operators_.ep == 1 || !has_whole_backwards(schedule) || schedule == Schedule::gpipe)) {
            continue;
          }
          Strategy s = operators_;
          s.overlap = overlap;
          s.overlap.ep_batch_level = pairs != 0;
          s.schedule = schedule;
          const bool hides = runs_pairs(s);
          // Without anything to hide, the order of gradients changes nothing.
          if (overlap.delayed_wgrad && s.tp == 1 && !(hides && s.ep > 1)) continue;
          OperatorTable& table = table_of(s);
          if (micro_batches_per_stage(c_, s) * table.all_stages(hides) < cutoff_) pipelines(s, table);
        }
      }
    }
    sort_and_cut();
    return std::move(out_);
  }

 private:
  OperatorTable& table_of(const Strategy& s) {
    const Strategy operators = operators_of(s);
    for (const auto& [known, table] : tables_) {
      if (known == operators) return *table;
    }
    return *tables_
                .emplace_back(operators, std::make_unique<OperatorTable>(c_.model, operators, c_.batch, c_.num_devices,
                                                                         cost_, c_.densest))
                .second;
  }

  void pipelines(Strategy& s, OperatorTable& table) {
    for (const std::int64_t pp : c_.domains.pp) {
      // Alone, a pipeline rank has nobody whose waiting a better order would shorten.
      if (pp == 1 && (s.schedule != Schedule::one_f_one_b && s.schedule != Schedule::gpipe)) continue;
      const std::int64_t pipeline = s.tp * s.cp * pp;
      if (c_.num_devices % pipeline != 0 || c_.num_devices % (s.etp * s.ep * pp) != 0 ||
          c_.batch.global_batch % (c_.num_devices / pipeline * s.micro_batch) != 0) {
        continue;
      }
      for (const std::int64_t vpp : chunks_of(s.schedule, c_.domains.vpp)) {
        s.pp = pp;
        s.vpp = vpp;
        layouts(s, table);
      }
    }
  }

  void layouts(Strategy& s, OperatorTable& table) {
    std::vector<std::vector<StageLayout>> seen;
    for (const Layout& layout : c_.domains.layouts) {
      s.stages = layout.kind == Layout::Kind::equal_time ? stages_in_equal_time(c_.model, s, table)
                                                         : stages_of_layout(c_.model, layout, s);
      if (s.stages.empty() || std::find(seen.begin(), seen.end(), s.stages) != seen.end()) continue;
      seen.push_back(s.stages);
      ++out_.num_families;
      if (!is_legal(s)) {
        ++out_.num_illegal;
        continue;
      }
      out_.counts +=
          scan_family(c_, s, table, cost_, cutoff_, [&](Member member) { out_.members.push_back(std::move(member)); });
    }
    if (out_.members.size() > 4 * room_) sort_and_cut();
  }

  /// With whatever sharding; that of a member is its own business.
  bool is_legal(Strategy s) const {
    if (s.num_optimizer_instances > 1) s.zero_dense = 1;
    return violations(c_.model, s, c_.batch, c_.num_devices).empty();
  }

  void sort_and_cut() {
    std::stable_sort(out_.members.begin(), out_.members.end(),
                     [](const Member& a, const Member& b) { return a.bound < b.bound; });
    if (out_.members.size() <= room_) return;
    const Seconds dropped = out_.members[room_].bound;
    if (out_.least_dropped == Seconds() || dropped < out_.least_dropped) out_.least_dropped = dropped;
    out_.members.erase(out_.members.begin() + static_cast<std::ptrdiff_t>(room_), out_.members.end());
  }

  const FamilyContext& c_;
  const Strategy& operators_;
  const costmodel::CostModel& cost_;
  const Seconds cutoff_;
  const std::size_t room_;
  std::vector<std::pair<Strategy, std::unique_ptr<OperatorTable>>> tables_;
  ScanResult out_;
};

}  // namespace

// With everything overlapped that the domains allow.
Seconds operator_bound(const FamilyContext& context, const Strategy& operators, const costmodel::CostModel& cost) {
  Strategy s = operators;
  const auto allows = [](const std::vector<int>& flags) {
    return std::find(flags.begin(), flags.end(), 1) != flags.end();
  };
  const Domains& d = context.domains;
  const bool pairs =
      s.ep > 1 && (allows(d.ep_batch_level) || std::any_of(d.schedule.begin(), d.schedule.end(), [](Schedule schedule) {
                     return runs_pairs({.schedule = schedule});
                   }));
  s.overlap = {.tp = s.sp && allows(d.overlap_tp),
               .delayed_wgrad = allows(d.delayed_wgrad),
               .shared_expert = s.ep > 1 && allows(d.shared_expert)};
  s.overlap.ep_batch_level = pairs;
  OperatorTable table(context.model, s, context.batch, context.num_devices, cost, context.densest);
  return micro_batches_per_stage(context, s) * table.all_stages(pairs);
}

// Every op of a micro-batch works somewhere, so that its arithmetic over the pipeline ranks is what a rank works on
// average, at least: nothing runs faster than alone, and recomputation and the update come on top. Products in slices
// may be timed as other products, so both are asked.
Seconds work_bound(const FamilyContext& context, const Strategy& operators, const costmodel::CostModel& cost) {
  const ArithmeticAlone arithmetic(cost);
  std::optional<Seconds> least;
  for (const int slices : context.domains.overlap_tp) {
    Strategy s = operators;
    s.overlap = {.tp = slices != 0 && s.sp};
    OperatorTable table(context.model, s, context.batch, context.num_devices, arithmetic, context.densest);
    const Seconds sum = table.all_stages(false);
    least = std::min(least.value_or(sum), sum);
  }
  return micro_batches_per_stage(context, operators) * least.value_or(Seconds());
}

ScanResult scan_pipelines(const FamilyContext& context, const Strategy& operators, const costmodel::CostModel& cost,
                          Seconds cutoff, std::size_t room) {
  return Scan(context, operators, cost, cutoff, room).run();
}

}  // namespace orrery::planner
