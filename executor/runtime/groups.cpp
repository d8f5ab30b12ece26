// SPDX-License-Identifier: Apache-2.0
#include "executor/runtime/groups.h"

#include "base/check.h"

#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

namespace orrery::executor {
namespace {

std::string_view name_of(Group group) {
  switch (group) {
    case Group::tp:
      return "tp";
    case Group::cp:
      return "cp";
    case Group::dp:
      return "dp";
    case Group::dp_shard:
      return "dp_shard";
    case Group::dp_replica:
      return "dp_replica";
    case Group::ep:
      return "ep";
    case Group::etp:
      return "etp";
    case Group::edp:
      return "edp";
    case Group::edp_shard:
      return "edp_shard";
    case Group::edp_replica:
      return "edp_replica";
    case Group::embedding:
      return "embedding";
    case Group::world:
      return "world";
    case Group::self:
    case Group::stage:
    case Group::pp_next:
    case Group::pp_prev:
      break;  // in no collective
  }
  CHECK(false, static_cast<int>(group));
}

std::string_view message_of(Queue queue) {
  switch (queue) {
    case Queue::pp_send_next:
    case Queue::pp_recv_prev:
    case Queue::pp_send_prev_act:
    case Queue::pp_recv_next_act:
      return "act";
    case Queue::pp_send_prev:
    case Queue::pp_recv_next:
    case Queue::pp_send_next_grad:
    case Queue::pp_recv_prev_grad:
      return "grad";
    case Queue::compute:
    case Queue::copy:
    case Queue::tp:
    case Queue::cp:
    case Queue::ep:
    case Queue::etp:
    case Queue::dp:
    case Queue::edp:
    case Queue::embedding:
    case Queue::world:
      break;
  }
  CHECK(false, static_cast<int>(queue));
}

}  // namespace

std::optional<Group> group_of(const OpShape& shape) {
  if (const auto* collective = std::get_if<CollectiveShape>(&shape)) return collective->group;
  if (const auto* exchange = std::get_if<ExchangeShape>(&shape)) return exchange->group;
  return std::nullopt;
}

Groups::Groups(const StepProgram& program, RankId rank, Endpoint& endpoint) : program_(program) {
  const auto join_group = [&](Group group) {
    End& end = groups_[static_cast<std::size_t>(group)];
    if (end.group) return;
    for (const RankId member : program.mesh.members(group, rank)) end.members.push_back(member.value());
    // Groups of one kind have numbers that no two of them share.
    end.group = endpoint.group(fmt::format("{}{}", name_of(group), program.mesh.group_index(group, rank)), end.members);
  };
  // An edge is named by its message and its ranks, the sender first.
  const auto join_edge = [&](Queue queue) {
    End& end = edges_[static_cast<std::size_t>(queue)];
    if (end.group) return;
    const Group peer = to_next_rank(queue) ? Group::pp_next : Group::pp_prev;
    const int me = rank.value(), other = program.mesh.members(peer, rank).front().value();
    const int from = is_send(queue) ? me : other, to = is_send(queue) ? other : me;
    // On two ranks the next is also the previous one, and activations go both ways around.
    end.members = {from, to};
    const bool wraps = is_send(queue) == to_next_rank(queue);
    end.group = endpoint.group(fmt::format("{}{}-{}{}", message_of(queue), from, to, wraps ? "" : "<"), end.members);
  };
  join_group(Group::world);
  for (const Op& op : program.class_of(rank).ops) {
    if (is_pipeline(op.queue)) {
      join_edge(op.queue);
    } else if (const auto group = group_of(program.shapes[op.shape])) {
      join_group(*group);
    }
  }
}

Communicator& Groups::of(Group group) const {
  const auto& found = groups_[static_cast<std::size_t>(group)].group;
  CHECK(found != nullptr, static_cast<int>(group));
  return *found;
}

Communicator& Groups::edge(Queue queue) const {
  const auto& found = edges_[static_cast<std::size_t>(queue)].group;
  CHECK(found != nullptr, static_cast<int>(queue));
  return *found;
}

const Groups::End& Groups::end_of(const Op& op) const {
  if (is_pipeline(op.queue)) return edges_[static_cast<std::size_t>(op.queue)];
  return groups_[static_cast<std::size_t>(group_of(program_.shapes[op.shape]).value())];
}

Communicator& Groups::of(const Op& op) const { return *end_of(op).group; }

std::int32_t Groups::rank_of(const Op& op, int peer) const {
  return peer < 0 ? -1 : end_of(op).members[static_cast<std::size_t>(peer)];
}

}  // namespace orrery::executor
