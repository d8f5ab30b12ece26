// SPDX-License-Identifier: Apache-2.0
#include "executor/runtime/groups.h"

#include "base/check.h"

#include <string>
#include <vector>

#include <fmt/format.h>

namespace orrery::executor {
namespace {

std::vector<int> members_of(const Mesh& mesh, Group group, RankId rank) {
  std::vector<int> members;
  for (const RankId member : mesh.members(group, rank)) members.push_back(member.value());
  return members;
}

/// Name and members of the communicator behind a queue: the same on all its members.
struct GroupSpec {
  std::string id;
  std::vector<int> members;
};

GroupSpec spec_of(Queue queue, const Mesh& mesh, RankId rank) {
  const auto group = [&](std::string_view name, Group kind) -> GroupSpec {
    return {fmt::format("{}{}", name, mesh.group_index(kind, rank)), members_of(mesh, kind, rank)};
  };
  // An edge is named by its direction and its ranks, the sender first.
  const auto edge = [&](std::string_view direction, Group peer, bool sends) -> GroupSpec {
    const int me = rank.value(), other = mesh.members(peer, rank).front().value();
    const int from = sends ? me : other, to = sends ? other : me;
    return {fmt::format("{}{}-{}", direction, from, to), {from, to}};
  };
  switch (queue) {
    case Queue::ep:
      return group("ep", Group::ep);
    case Queue::dp:
      return group("dp", Group::dp);
    case Queue::edp:
      return group("edp", Group::edp);
    case Queue::world:
      return group("world", Group::world);
    case Queue::pp_send_next:
      return edge("act", Group::pp_next, true);
    case Queue::pp_recv_prev:
      return edge("act", Group::pp_prev, false);
    case Queue::pp_send_prev:
      return edge("grad", Group::pp_prev, true);
    case Queue::pp_recv_next:
      return edge("grad", Group::pp_next, false);
    case Queue::compute:
    case Queue::copy:
    case Queue::tp:
    case Queue::cp:
    case Queue::etp:
    case Queue::embedding:
    case Queue::pp_send_prev_act:
    case Queue::pp_recv_next_act:
    case Queue::pp_send_next_grad:
    case Queue::pp_recv_prev_grad:
      break;  // cpu_unsupported() names them before a rank starts
  }
  CHECK(false, static_cast<int>(queue));
}

}  // namespace

Groups::Groups(const StepProgram& program, RankId rank, ShmEndpoint& endpoint) {
  std::array<bool, kNumQueues> used{};
  used[static_cast<std::size_t>(Queue::world)] = true;
  for (const Op& op : program.class_of(rank).ops) used[static_cast<std::size_t>(op.queue)] = true;
  used[static_cast<std::size_t>(Queue::compute)] = false;
  for (std::size_t queue = 0; queue < groups_.size(); ++queue) {
    if (!used[queue]) continue;
    GroupSpec spec = spec_of(static_cast<Queue>(queue), program.mesh, rank);
    groups_[queue] = endpoint.group(spec.id, spec.members);
    members_[queue] = std::move(spec.members);
  }
}

Communicator& Groups::of(Queue queue) const {
  const auto& group = groups_[static_cast<std::size_t>(queue)];
  CHECK(group != nullptr, static_cast<int>(queue));
  return *group;
}

std::int32_t Groups::rank_of(Queue queue, int peer) const {
  return peer < 0 ? -1 : members_[static_cast<std::size_t>(queue)][static_cast<std::size_t>(peer)];
}

}  // namespace orrery::executor
