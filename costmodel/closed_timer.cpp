// SPDX-License-Identifier: Apache-2.0
#include "costmodel/closed_timer.h"

#include "costmodel/exchange_multiprocessors.h"
#include "costmodel/host_time.h"

#include <utility>
#include <variant>

namespace orrery::costmodel {
namespace {

/// What a balanced router gives every rank.
ResolvedLoad balanced(const Rows& rows, std::int64_t num_local_experts) {
  if (rows.kind == Rows::Kind::fixed) return {};
  const auto count = static_cast<double>(rows.count), experts = static_cast<double>(num_local_experts);
  return {.rows_per_expert = std::vector<double>(static_cast<std::size_t>(num_local_experts), count / experts),
          .received = count,
          .gathered = count,
          .distinct = count};
}

}  // namespace

ClosedTimer::ClosedTimer(const Model& model, const Strategy& strategy, const Mesh& mesh, const CostModel& cost,
                         std::span<const DeviceIndex> device_of_rank)
    : model_(model),
      strategy_(strategy),
      mesh_(mesh),
      cost_(cost),
      devices_(strategy, mesh.world(), device_of_rank),
      held_(held_by_exchanges(cost, model, strategy, mesh, [this](RankId rank) { return device_of(rank); })) {}

void ClosedTimer::enter(std::int64_t pipeline_rank) {
  rank_ = RankId(static_cast<std::int32_t>(pipeline_rank * mesh_.ranks_per_stage()));
  members_.clear();
}

const std::vector<DeviceIndex>& ClosedTimer::members(Group group) {
  const auto [found, is_new] = members_.try_emplace(group);
  if (is_new) {
    for (const RankId member : mesh_.members(group, rank_)) found->second.push_back(device_of(member));
  }
  return found->second;
}

OpTime ClosedTimer::timed(const LayerOp& op) {
  if (const auto* shape = std::get_if<CollectiveShape>(&op.shape)) return {.time = collective(*shape)};
  if (const auto* shape = std::get_if<ExchangeShape>(&op.shape)) return {.time = exchange(*shape)};
  return compute(op.op, op.pass, op.shape);
}

Seconds ClosedTimer::host(const LayerOp& op) const {
  return host_share(strategy_) * cost_.dispatch({.pass = op.pass, .op = op.op}, op.shape);
}

OpTime ClosedTimer::compute(OpCode op, Pass pass, const OpShape& shape) {
  ResolvedLoad load;
  const std::int64_t num_local = model_.moe ? model_.moe->num_experts / strategy_.ep : 0;
  if (const auto* grouped = std::get_if<GroupedGemmShape>(&shape)) load = balanced(grouped->rows, num_local);
  if (const auto* memory = std::get_if<MemoryShape>(&shape)) load = balanced(memory->rows, num_local);
  const OpKey key{.pass = pass, .op = op};
  OpTime time = noted(cost_.compute(key, shape, load, device()));
  if (held_) time.slowdown_by_exchange = cost_.slowdown_beside(*held_, key, shape, load, device());
  return time;
}

Seconds ClosedTimer::collective(CollectiveShape shape) {
  shape.bytes += shape.rows.count * shape.row_bytes;
  shape.rows = {};
  shape.row_bytes = 0;
  if (mesh_.size(shape.group) < 2 || shape.bytes == 0) return {};
  return noted(cost_.collective(shape, members(shape.group))).alone();
}

Seconds ClosedTimer::collective(Group group, CollectiveKind kind, std::int64_t num_bytes) {
  return collective(CollectiveShape{.kind = kind, .group = group, .bytes = num_bytes});
}

Seconds ClosedTimer::norm() {
  constexpr std::int64_t kBytes = 32;  // a 128-bit sum of squares, its overflow flag, and the loss
  return collective(Group::world, CollectiveKind::all_reduce, kBytes);
}

Seconds ClosedTimer::exchange(const ExchangeShape& shape) {
  if (!routing_) {  // all exchanges of a plan route the same pairs
    routing_ =
        routing(BalancedLoad{},
                {.group = strategy_.ep, .num_experts = model_.moe->num_experts, .pairs_per_rank = shape.rows.count});
  }
  return noted(cost_.exchange(shape, *routing_, members(Group::ep))).alone();
}

Seconds ClosedTimer::memory_bound(OpCode op, Pass pass, std::int64_t rows, std::int64_t read, std::int64_t written) {
  if (rows == 0) return {};
  return compute(op, pass,
                 MemoryShape{.rows = {Rows::Kind::fixed, rows}, .read_per_row = read, .written_per_row = written})
      .time;
}

Seconds ClosedTimer::copy(std::int64_t num_bytes, bool to_host) {
  return noted(cost_.copy({.bytes = num_bytes, .to_host = to_host}, device())).alone();
}

Seconds ClosedTimer::message(std::int64_t num_bytes, bool to_next) {
  const Group peer = to_next ? Group::pp_next : Group::pp_prev;
  return noted(cost_.peer({.bytes = num_bytes, .peer = peer}, device(), members(peer).front())).alone();
}

}  // namespace orrery::costmodel
