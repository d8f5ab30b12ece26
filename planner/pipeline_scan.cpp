// SPDX-License-Identifier: Apache-2.0
#include "planner/pipeline_scan.h"

#include "costmodel/forwarding_cost_model.h"
#include "planner/stage_balance.h"
#include "program/legality.h"
#include "program/schedule.h"

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <span>
#include <utility>

namespace orrery::planner {
namespace {

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

/// Ops that multiply, or all others; nothing else takes time, and the host is never late.
class ArithmeticAlone : public costmodel::ForwardingCostModel {
 public:
  ArithmeticAlone(const costmodel::CostModel& cost, bool products) : ForwardingCostModel(cost), products_(products) {}

  costmodel::OpTime compute(const OpKey& key, const OpShape& shape, const ResolvedLoad& load,
                            DeviceIndex device) const override {
    if (is_product(key.op) != products_) return {};
    return ForwardingCostModel::compute(key, shape, load, device);
  }
  costmodel::CommTime collective(const CollectiveShape&, std::span<const DeviceIndex>) const override { return {}; }
  costmodel::CommTime exchange(const ExchangeShape&, const RoutingMatrix&,
                               std::span<const DeviceIndex>) const override {
    return {};
  }
  costmodel::CommTime copy(const CopyShape&, DeviceIndex) const override { return {}; }
  costmodel::CommTime peer(const PeerShape&, DeviceIndex, DeviceIndex) const override { return {}; }
  costmodel::OverlapRule overlap(DeviceIndex) const override { return {}; }
  Seconds dispatch(const OpKey&, const OpShape&) const override { return {}; }

 private:
  const bool products_;
};

class Scan {
 public:
  Scan(const FamilyContext& context, const Strategy& operators, std::span<const PipelineChoice> pipelines,
       const costmodel::CostModel& cost, Seconds cutoff, std::size_t room, costmodel::PieceTimes* pieces)
      : c_(context),
        operators_(operators),
        pipelines_(pipelines),
        cost_(cost),
        cutoff_(cutoff),
        room_(room),
        pieces_(pieces) {}

  ScanResult run() {
    const bool searches_graphs = c_.domains.cuda_graphs.size() > 1;
    for (const Overlap& overlap : overlaps_of(c_.domains, operators_)) {
      Strategy operators = operators_;
      operators.overlap = overlap;
      operators.cuda_graphs = c_.domains.cuda_graphs == std::vector<int>{1};
      for (const PipelineChoice& choice : pipelines_) {
        Strategy s = choice.of(operators);
        const bool hides = runs_pairs(s);
        // Without anything to hide, the order of gradients changes nothing.
        if (overlap.delayed_wgrad && s.tp == 1 && !(hides && s.ep > 1)) continue;
        const OperatorTable& table = scan(s);
        // Where no slot waits for the host, graphs spare no time and need memory.
        if (!searches_graphs || hides || !table.waits_for_host()) continue;
        s.cuda_graphs = true;
        scan(s);
      }
    }
    sort_and_cut();
    return std::move(out_);
  }

 private:
  /// A table, and what it says of all stages together.
  struct Known {
    Strategy operators;
    OperatorTable table;
    std::array<std::optional<Seconds>, 2> sums = {};

    Seconds all_stages(bool pairs) {
      std::optional<Seconds>& sum = sums[pairs ? 1 : 0];
      if (!sum) sum = table.all_stages(pairs);
      return *sum;
    }
  };

  /// One pipeline. The table that its slots were looked up in.
  const OperatorTable& scan(Strategy s) {
    Known& known = table_of(s);
    if (micro_batches_per_stage(c_, s) * known.all_stages(runs_pairs(s)) < cutoff_) layouts(s, known.table);
    return known.table;
  }

  Known& table_of(const Strategy& s) {
    const Strategy operators = operators_of(s);
    for (const std::unique_ptr<Known>& known : tables_) {
      if (known->operators == operators) return *known;
    }
    return *tables_.emplace_back(new Known{
        .operators = operators, .table = {c_.model, operators, c_.batch, c_.num_devices, cost_, c_.densest, pieces_}});
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
  bool is_legal(const Strategy& s) const { return violations(c_.model, s, c_.batch, c_.num_devices).empty(); }

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
  const std::span<const PipelineChoice> pipelines_;
  const costmodel::CostModel& cost_;
  const Seconds cutoff_;
  const std::size_t room_;
  costmodel::PieceTimes* const pieces_;
  std::vector<std::unique_ptr<Known>> tables_;
  ScanResult out_;
};

}  // namespace

// With everything overlapped that the domains allow. Products in slices may take longer than whole ones, and exchanges
// that a pair hides more than it spares, so both are asked.
Seconds operator_bound(const FamilyContext& context, const Strategy& operators, const costmodel::CostModel& cost,
                       costmodel::PieceTimes* pieces) {
  const auto allows = [](const std::vector<int>& flags) {
    return std::find(flags.begin(), flags.end(), 1) != flags.end();
  };
  const Domains& d = context.domains;
  std::optional<Seconds> least;
  for (const int slices : d.overlap_tp) {
    Strategy s = operators;
    if (slices != 0 && !s.sp) continue;
    const bool pairs = s.ep > 1 && (allows(d.ep_batch_level) ||
                                    std::any_of(d.schedule.begin(), d.schedule.end(),
                                                [](Schedule schedule) { return runs_pairs({.schedule = schedule}); }));
    s.overlap = {.tp = slices != 0,
                 .delayed_wgrad = allows(d.delayed_wgrad),
                 .shared_expert = s.ep > 1 && allows(d.shared_expert)};
    s.overlap.ep_batch_level = pairs;
    s.cuda_graphs = allows(d.cuda_graphs);
    OperatorTable table(context.model, s, context.batch, context.num_devices, cost, context.densest, pieces);
    const Seconds sum = pairs ? std::min(table.all_stages(true), table.all_stages(false)) : table.all_stages(false);
    least = std::min(least.value_or(sum), sum);
  }
  return micro_batches_per_stage(context, operators) * least.value_or(Seconds());
}

// Every op of a micro-batch works somewhere, so that its arithmetic over the pipeline ranks is what a rank works on
// average, at least: nothing runs faster than alone, and recomputation and the update come on top. Products in slices
// may be timed as other products, so both are asked.
Activities work_bound(const FamilyContext& context, const Strategy& operators, const costmodel::CostModel& cost) {
  const auto least_of = [&](bool products) {
    const ArithmeticAlone arithmetic(cost, products);
    std::optional<Seconds> least;
    for (const int slices : context.domains.overlap_tp) {
      Strategy s = operators;
      s.overlap = {.tp = slices != 0 && s.sp};
      OperatorTable table(context.model, s, context.batch, context.num_devices, arithmetic, context.densest);
      const Seconds sum = table.all_stages(false);
      least = std::min(least.value_or(sum), sum);
    }
    return micro_batches_per_stage(context, operators) * least.value_or(Seconds());
  };
  return {.products = least_of(true), .streaming = least_of(false), .communication = {}};
}

ScanResult scan_pipelines(const FamilyContext& context, const Strategy& operators,
                          std::span<const PipelineChoice> pipelines, const costmodel::CostModel& cost, Seconds cutoff,
                          std::size_t room, costmodel::PieceTimes* pieces) {
  return Scan(context, operators, pipelines, cost, cutoff, room, pieces).run();
}

}  // namespace orrery::planner
