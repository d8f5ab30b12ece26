// SPDX-License-Identifier: Apache-2.0
#include "costmodel/op_timer.h"

#include "base/check.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace orrery::costmodel {
namespace {

constexpr std::size_t kNumPasses = static_cast<std::size_t>(Pass::update) + 1;

struct GroupOfShape {
  Group operator()(const CollectiveShape& s) const { return s.group; }
  Group operator()(const ExchangeShape& s) const { return s.group; }
  Group operator()(const PeerShape& s) const { return s.peer; }
  template <class ComputeShape>
  Group operator()(const ComputeShape&) const {
    CHECK(false, "a compute shape has no group");
  }
};

const Rows* rows_of(const OpShape& shape) {
  if (const auto* grouped = std::get_if<GroupedGemmShape>(&shape)) return &grouped->rows;
  if (const auto* memory = std::get_if<MemoryShape>(&shape)) return &memory->rows;
  return nullptr;
}

}  // namespace

Group group_of(const OpShape& shape) { return std::visit(GroupOfShape{}, shape); }

OpTimer::OpTimer(const StepProgram& program, const CostModel& model, const SimulatedRanks& simulated,
                 const LoadModel& load)
    : program_(program), model_(model), simulated_(simulated), load_(load), balanced_(is_balanced(load)) {}

void OpTimer::enter(std::size_t rank) {
  rank_ = &simulated_.ranks()[rank];
  const std::size_t device_kind = simulated_.device_group(rank_->device);
  table_ = &compute_times_[device_kind];
  if (table_->empty()) {
    table_->assign(program_.shapes.size() * kNumPasses * kNumOpCodes, std::numeric_limits<double>::quiet_NaN());
  }
  const std::int64_t ep_group = program_.mesh.group_index(Group::ep, rank_->view.rank);
  if (ep_group != ep_group_ && !balanced_) routings_.clear();
  ep_group_ = ep_group;
}

const RoutingMatrix& OpTimer::routing_of(const Op& op, std::int64_t pairs_per_rank) {
  CHECK(program_.model.moe.has_value(), to_string(op.key));
  // A balanced router does the same everywhere, so that one entry serves all layers and micro-batches.
  const std::tuple<std::int64_t, std::int64_t, std::int64_t> where{balanced_ ? 0 : op.key.layer,
                                                                   balanced_ ? 0 : op.key.micro_batch, pairs_per_rank};
  const auto [found, is_new] = routings_.try_emplace(where);
  if (is_new) {
    const Coords& at = rank_->view.coords;
    found->second = routing(load_, {.layer = op.key.layer,
                                    .micro_batch = op.key.micro_batch,
                                    .ep_group = at.edp * program_.strategy.etp + at.etp,
                                    .group = program_.mesh.ep(),
                                    .num_experts = program_.model.moe->num_experts,
                                    .pairs_per_rank = pairs_per_rank});
  }
  return found->second;
}

ResolvedLoad OpTimer::load_of(const Op& op, const Rows& rows) {
  if (rows.kind != Rows::Kind::received) return {};
  ResolvedLoad load;
  load.rows_per_expert = routing_of(op, rows.count).per_local_expert(rank_->view.coords.ep);
  load.received = std::accumulate(load.rows_per_expert.begin(), load.rows_per_expert.end(), 0.0);
  return load;
}

Seconds OpTimer::compute(const Op& op) {
  const OpShape& shape = program_.shapes[op.shape];
  const Rows* rows = rows_of(shape);
  const auto ask_model = [&] {
    const OpTime time = model_.compute(op.key, shape, rows ? load_of(op, *rows) : ResolvedLoad{}, rank_->device);
    if (time.extrapolated) extrapolated_.set(static_cast<std::size_t>(op.key.op));
    return time.time;
  };
  if (!balanced_ && rows && rows->kind == Rows::Kind::received) return ask_model();
  double& known = (*table_)[(std::size_t{op.shape} * kNumPasses + static_cast<std::size_t>(op.key.pass)) * kNumOpCodes +
                            static_cast<std::size_t>(op.key.op)];
  if (std::isnan(known)) known = ask_model().in(unit::second);
  return seconds(known);
}

CommTime OpTimer::ask(const OpShape& shape, const Op& op, std::span<const DeviceIndex> members) {
  if (members.size() < 2) return {};
  if (const auto* collective = std::get_if<CollectiveShape>(&shape)) return model_.collective(*collective, members);
  if (const auto* exchange = std::get_if<ExchangeShape>(&shape)) {
    return model_.exchange(*exchange, routing_of(op, exchange->rows.count), members);
  }
  const PeerShape& peer = std::get<PeerShape>(shape);
  return peer.send ? model_.peer(peer, members[0], members[1]) : model_.peer(peer, members[1], members[0]);
}

CommTime OpTimer::comm(const Op& op) {
  const OpShape& shape = program_.shapes[op.shape];
  const Group group = group_of(shape);
  const bool edge = group == Group::pp_next || group == Group::pp_prev;
  const RankId self = rank_->view.rank;
  const std::int64_t lowest = edge ? self.value() : program_.mesh.group_index(group, self);
  const bool routed = !balanced_ && std::holds_alternative<ExchangeShape>(shape);
  auto [known, is_new] = comm_times_.try_emplace({op.shape, lowest});
  if (is_new || routed) known->second = slowest_of(op, group, lowest);
  if (known->second.extrapolated) extrapolated_.set(static_cast<std::size_t>(op.key.op));
  return known->second;
}

CommTime OpTimer::slowest_of(const Op& op, Group group, std::int64_t lowest) {
  const OpShape& shape = program_.shapes[op.shape];
  const auto [places, is_new] = devices_.try_emplace({group, lowest});
  if (is_new) places->second = simulated_.devices(group, rank_->view.rank);
  CommTime slowest = ask(shape, op, places->second.front());
  for (std::size_t i = 1; i < places->second.size(); ++i) {
    const CommTime other = ask(shape, op, places->second[i]);
    if (other.alone() > slowest.alone()) slowest = other;
  }
  return slowest;
}

Bytes OpTimer::sent(const Op& op) {
  const OpShape& shape = program_.shapes[op.shape];
  const bool routed = !balanced_ && std::holds_alternative<ExchangeShape>(shape);
  if (!routed) {
    if (const auto found = sent_.find(op.shape); found != sent_.end()) return found->second;
  }
  Bytes payload;
  if (const auto* collective = std::get_if<CollectiveShape>(&shape)) {
    payload = wire_bytes(*collective, program_.mesh.size(collective->group));
  } else if (const auto* exchange = std::get_if<ExchangeShape>(&shape)) {
    payload = wire_bytes(*exchange, routing_of(op, exchange->rows.count),
                         program_.mesh.index_in_group(exchange->group, rank_->view.rank));
  } else if (const PeerShape& peer = std::get<PeerShape>(shape); peer.send) {
    payload = bytes(static_cast<double>(peer.bytes));
  }
  if (!routed) sent_.emplace(op.shape, payload);
  return payload;
}

std::vector<std::string> OpTimer::extrapolated() const {
  std::vector<std::string> names;
  for (std::size_t code = 0; code < extrapolated_.size(); ++code) {
    if (extrapolated_.test(code)) names.emplace_back(name_of(static_cast<OpCode>(code)));
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace orrery::costmodel
