// SPDX-License-Identifier: Apache-2.0
#include "sim/bound_check.h"

#include "base/check.h"
#include "base/errors.h"
#include "base/units_format.h"
#include "program/arrivals.h"
#include "program/rank_devices.h"
#include "program/topology/topology.h"
#include "sim/least_time.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace orrery::sim {
namespace {

// A date of a trace is off by 1e-13 of the step, and so is the difference of two (docs/design/simgrid.md).
constexpr double kClockError = 1e-12;
constexpr double kRounding = 1e-9;

/// Group of a communication; nothing for compute and for copies between device and host.
std::optional<Group> group_of(const OpShape& shape) {
  if (const auto* collective = std::get_if<CollectiveShape>(&shape)) return collective->group;
  if (const auto* exchange = std::get_if<ExchangeShape>(&shape)) return exchange->group;
  if (const auto* peer = std::get_if<PeerShape>(&shape)) return peer->peer;
  return std::nullopt;
}

const Rows& rows_of(const OpShape& shape) {
  if (const auto* exchange = std::get_if<ExchangeShape>(&shape)) return exchange->rows;
  static const Rows fixed;
  const auto* collective = std::get_if<CollectiveShape>(&shape);
  return collective ? collective->rows : fixed;
}

class Bounds {
 public:
  Bounds(const StepProgram& program, const Cluster& cluster, std::span<const DeviceIndex> device_of_rank,
         const RunInput& input, const Fidelities& fidelities, bool hashed)
      : program_(program),
        cluster_(cluster),
        devices_(program.strategy, program.mesh.world(), device_of_rank),
        load_(input.load),
        balanced_(is_balanced(input.load)),
        fidelities_(fidelities),
        hashed_(hashed) {
    if (topology::has_routers(cluster.fabric)) routers_.emplace(cluster);
  }

  /// Of the slowest of the groups that `op` of `rank` stands for.
  LeastTime of(const Op& op, RankId rank, bool stands_for_class) {
    const OpShape& shape = program_.shapes[op.shape];
    const bool is_routed = !balanced_ && rows_of(shape).kind != Rows::Kind::fixed;
    const std::array<std::int64_t, 4> asked{op.shape, who(*group_of(shape), rank, stands_for_class),
                                            is_routed ? op.key.layer : OpKey::kNoLayer,
                                            is_routed ? op.key.micro_batch : -1};
    const auto [known, is_new] = times_.try_emplace(asked);
    if (!is_new) return known->second;
    for (const std::vector<DeviceIndex>& devices : groups(*group_of(shape), rank, stands_for_class)) {
      if (devices.size() < 2) continue;
      const LeastTime time = time_of(op, rank, devices);
      if (time.total() > known->second.total()) known->second = time;
    }
    return known->second;
  }

  /// Members of the communication, the sender of a message first.
  std::vector<RankId> members(const OpShape& shape, RankId rank) const {
    std::vector<RankId> members = program_.mesh.members(*group_of(shape), rank);
    if (std::holds_alternative<PeerShape>(shape)) members.insert(members.begin(), rank);
    return members;
  }

 private:
  static bool is_edge(Group group) { return group == Group::pp_next || group == Group::pp_prev; }

  /// What tells the communications of one shape apart.
  std::int64_t who(Group group, RankId rank, bool stands_for_class) const {
    if (stands_for_class) return program_.view(rank).program_class.value();
    return is_edge(group) ? rank.value() : program_.mesh.group_index(group, rank);
  }

  std::vector<DeviceIndex> devices(Group group, RankId rank) const {
    std::vector<DeviceIndex> devices;
    const auto add = [&](RankId member) { devices.push_back(devices_.of(member)); };
    if (is_edge(group)) add(rank);
    for (const RankId member : program_.mesh.members(group, rank)) add(member);
    return devices;
  }

  /// Devices of the group of `rank`, or of one group for each way in which those of its class lie on the cluster.
  const std::vector<std::vector<DeviceIndex>>& groups(Group group, RankId rank, bool stands_for_class) {
    const auto [known, is_new] = groups_.try_emplace({group, who(group, rank, stands_for_class)});
    std::vector<std::vector<DeviceIndex>>& lists = known->second;
    if (!is_new) return lists;
    if (!stands_for_class) {
      lists.push_back(devices(group, rank));
      return lists;
    }
    std::set<std::int64_t> seen;
    std::set<std::vector<std::int64_t>> layouts;
    const ClassId program_class = program_.view(rank).program_class;
    for (std::int32_t r = 0; r < program_.mesh.world(); ++r) {
      const RankId other(r);
      if (program_.view(other).program_class != program_class) continue;
      if (!is_edge(group) && !seen.insert(program_.mesh.group_index(group, other)).second) continue;
      std::vector<DeviceIndex> list = devices(group, other);
      std::vector<std::int64_t> layout;
      const Cluster::Location first = cluster_.locate(list.front());
      for (const DeviceIndex device : list) {
        const Cluster::Location at = cluster_.locate(device);
        layout.insert(layout.end(), {static_cast<std::int64_t>(at.group), at.domain - first.domain,
                                     at.node - first.node, at.leaf - first.leaf, at.index});
      }
      if (layouts.insert(std::move(layout)).second) lists.push_back(std::move(list));
    }
    return lists;
  }

  RoutingMatrix routing_of(const Op& op, RankId rank, std::int64_t pairs_per_rank, std::int64_t etp) const {
    CHECK(program_.model.moe.has_value(), to_string(op.key));
    return placed_routing(load_, program_.experts,
                          {.layer = op.key.layer,
                           .micro_batch = op.key.micro_batch,
                           .ep_group = program_.mesh.coords(rank).edp * program_.strategy.etp + etp,
                           .group = program_.mesh.ep(),
                           .num_experts = program_.model.moe->num_experts,
                           .pairs_per_rank = pairs_per_rank});
  }

  /// Rows of a collective. A balanced router's are those that stand in the program.
  double num_rows(const Op& op, RankId rank, const Rows& rows) const {
    const auto count = static_cast<double>(rows.count);
    if (balanced_ || rows.kind == Rows::Kind::fixed || rows.kind == Rows::Kind::routed) return count;
    const Coords at = program_.mesh.coords(rank);
    if (rows.kind == Rows::Kind::received) return routing_of(op, rank, rows.count, at.etp).received(at.ep);
    if (rows.kind == Rows::Kind::distinct) {
      const std::int64_t pairs = pairs_per_rank(program_.model, program_.strategy, program_.batch);
      const RoutingMatrix routing = routing_of(op, rank, pairs, at.etp);
      return routing.tokens_received(at.ep).value_or(count * routing.received(at.ep) / static_cast<double>(pairs));
    }
    double gathered = 0.0;
    for (std::int64_t etp = 0; etp < program_.strategy.etp; ++etp) {
      gathered += routing_of(op, rank, rows.count / program_.strategy.etp, etp).received(at.ep);
    }
    return gathered;
  }

  LeastTime time_of(const Op& op, RankId rank, std::span<const DeviceIndex> devices) const {
    // CPUs communicate in closed form, which knows no uplinks.
    const bool uplinks =
        fidelities_.of(op.key.op) != Fidelity::l0 && std::ranges::none_of(devices, [&](DeviceIndex device) {
          return cluster_.groups[cluster_.locate(device).group].device.kind == DeviceKind::cpu;
        });
    // Flows of nodes, at L1, have no routes.
    const bool over_routers = uplinks && routers_ && fidelities_.of(op.key.op) > Fidelity::l1;
    const Members members{.cluster = cluster_,
                          .devices = devices,
                          .uplinks = uplinks,
                          .routers = over_routers ? &*routers_ : nullptr,
                          .hashed = hashed_};
    const OpShape& shape = program_.shapes[op.shape];
    if (const auto* exchange = std::get_if<ExchangeShape>(&shape)) {
      const std::int64_t etp = program_.mesh.coords(rank).etp;
      return least_time(*exchange, routing_of(op, rank, exchange->rows.count, etp), balanced_, members);
    }
    if (const auto* collective = std::get_if<CollectiveShape>(&shape)) {
      CollectiveShape resolved = *collective;
      const double routed = num_rows(op, rank, collective->rows) * static_cast<double>(collective->row_bytes);
      resolved.bytes += std::llround(std::floor(routed));
      return least_time(resolved, members);
    }
    return least_time(std::get<PeerShape>(shape), members);
  }

  const StepProgram& program_;
  const Cluster& cluster_;
  const RankDevices devices_;
  const LoadModel& load_;
  const bool balanced_;
  const Fidelities& fidelities_;
  const bool hashed_;
  std::optional<topology::Topology> routers_;
  std::map<std::array<std::int64_t, 4>, LeastTime> times_;  // by shape, who, layer and micro-batch
  std::map<std::pair<Group, std::int64_t>, std::vector<std::vector<DeviceIndex>>> groups_;
};

[[noreturn]] void fail(const Span& span, const LeastTime& bound, std::span<const RankId> members) {
  std::vector<std::int32_t> ranks;
  for (const RankId member : members.first(std::min<std::size_t>(members.size(), 8))) ranks.push_back(member.value());
  throw InternalError(fmt::format(
      "{}, rank{} {}{}: simulated in {}, which its links do not allow: expected at least {} ({} for the busiest link, "
      "{} for one way)",
      to_string(span.key), members.size() == 1 ? "" : "s", fmt::join(ranks, ", "),
      members.size() > ranks.size() ? fmt::format(" and {} more", members.size() - ranks.size()) : "", span.duration(),
      bound.total(), bound.links, bound.latency));
}

}  // namespace

struct BoundCheck::Impl {
  Bounds bounds;
  const StepProgram& program;
  // Where some are disturbed, or replicas apart, a rank stands for a part of its class: then the bound is that of its
  // own groups.
  const bool parts_classes;
  std::array<BoundedOps, kNumOpCodes> by_op = {};
  std::map<std::pair<std::int32_t, std::int32_t>, OpIndex> next_op = {};  // by step and rank

  void add(const Op& op, RankId rank, const Trace& record, const Span& span, Seconds clock_error) {
    const OpShape& shape = program.shapes[op.shape];
    const std::optional<Group> group = group_of(shape);
    if (!group || program.mesh.size(*group) < 2) return;
    // Told by its sender, or by the lowest of its members that has spans.
    const auto* peer = std::get_if<PeerShape>(&shape);
    if (peer ? !peer->send : false) return;
    const auto lowest = peer ? rank.value() : static_cast<std::int32_t>(program.mesh.group_index(*group, rank));
    if (lowest != rank.value() && record.header.represents.contains(lowest)) return;
    const bool stands_for_class = !parts_classes && record.header.represents.at(rank.value()) > 1;
    const LeastTime bound = bounds.of(op, rank, stands_for_class);
    const Seconds time = span.duration();
    if (time + clock_error < bound.total() * (1.0 - kRounding)) fail(span, bound, bounds.members(shape, rank));
    BoundedOps& row = by_op.at(static_cast<std::size_t>(op.key.op));
    row.op = op.key.op;
    ++row.count;
    row.time += time;
    row.bound += bound.total();
    if (bound.total() <= Seconds::zero()) return;
    const double ratio = time / bound.total();
    row.least_ratio = row.least_ratio == 0.0 ? ratio : std::min(row.least_ratio, ratio);
  }
};

BoundCheck::BoundCheck(const StepProgram& program, const Cluster& cluster, std::span<const DeviceIndex> device_of_rank,
                       const RunInput& input, const Fidelities& fidelities, bool hashed)
    : impl_(std::make_unique<Impl>(Impl{
          .bounds = Bounds(program, cluster, device_of_rank, input, fidelities, hashed),
          .program = program,
          .parts_classes = input.disturbances.on_compute() || input.disturbances.on_links() || input.all_replicas})) {}

BoundCheck::~BoundCheck() = default;

void BoundCheck::add(const Trace& record, const Spans& spans) {
  Seconds clock_error;
  for (const StepRecord& step : record.steps) clock_error = std::max(clock_error, kClockError * step.time);
  std::size_t i = 0;
  while (i < spans.size()) {
    const RankId rank(spans.rank()[i]);
    const std::vector<Op>& ops = impl_->program.class_of(rank).ops;
    const std::int32_t step = spans.step()[i];
    OpIndex& op_index = impl_->next_op[{step, rank.value()}];
    for (; i < spans.size() && spans.rank()[i] == rank.value() && spans.step()[i] == step; ++i, ++op_index) {
      CHECK(op_index < ops.size() && ops[op_index].key == spans.key()[i], to_string(spans.key()[i]), rank);
      if (ops[op_index].queue == Queue::compute) continue;
      impl_->add(ops[op_index], rank, record, spans.at(i), clock_error);
    }
  }
}

std::vector<BoundedOps> BoundCheck::rows() const {
  std::vector<BoundedOps> rows;
  std::ranges::copy_if(impl_->by_op, std::back_inserter(rows), [](const BoundedOps& row) { return row.count > 0; });
  std::ranges::stable_sort(rows, [](const BoundedOps& a, const BoundedOps& b) { return a.time > b.time; });
  return rows;
}

std::vector<BoundedOps> check_bounds(const StepProgram& program, const Cluster& cluster,
                                     std::span<const DeviceIndex> device_of_rank, const RunInput& input,
                                     const Fidelities& fidelities, const Trace& trace, bool hashed) {
  BoundCheck check(program, cluster, device_of_rank, input, fidelities, hashed);
  check.add(trace, trace.spans);
  return check.rows();
}

}  // namespace orrery::sim
