// SPDX-License-Identifier: Apache-2.0
#include "program/group_places.h"

#include "program/mesh.h"
#include "program/rank_devices.h"

#include <algorithm>
#include <optional>
#include <set>
#include <span>
#include <utility>

namespace orrery {
namespace {

constexpr std::pair<std::string_view, Group> kDimensions[] = {
    {"tp", Group::tp}, {"etp", Group::etp}, {"cp", Group::cp},     {"ep", Group::ep},
    {"dp", Group::dp}, {"edp", Group::edp}, {"pp", Group::pp_next}};

void add(GroupPlaces& places, const Cluster& cluster, std::span<const DeviceIndex> members) {
  std::set<std::int64_t> domains, leaves, rails;
  for (const DeviceIndex member : members) {
    const Cluster::Location at = cluster.locate(member);
    domains.insert(at.domain);
    leaves.insert(at.leaf);
    const NodeGroup& nodes = cluster.groups[at.group];
    if (nodes.nics) rails.insert(nodes.own_nics(at.index).first % nodes.nics->rails);
  }
  places.num_domains = std::max(places.num_domains, std::ssize(domains));
  if (domains.size() == 1) {
    ++places.on_node;
    return;
  }
  ++(leaves.size() == 1 ? places.on_rail : places.on_spine);
  places.num_rails = std::max(places.num_rails, std::ssize(rails));
}

}  // namespace

std::vector<GroupPlaces> group_places(const Plan& plan) {
  const Mesh mesh(plan.strategy, plan.num_ranks());
  const RankDevices devices(plan.strategy, plan.num_ranks(), plan.device_of_rank);
  std::vector<GroupPlaces> all;
  for (const auto& [name, group] : kDimensions) {
    const bool is_edge = group == Group::pp_next;
    GroupPlaces places{.dimension = name, .num_ranks = is_edge ? mesh.pp() : mesh.size(group)};
    if (places.num_ranks < 2) continue;
    std::set<std::int64_t> seen;
    for (std::int32_t r = 0; r < plan.num_ranks(); ++r) {
      const RankId rank(r);
      std::vector<DeviceIndex> members;
      if (is_edge) {
        if (mesh.coords(rank).pp + 1 == mesh.pp()) continue;
        members.push_back(devices.of(rank));
      } else if (!seen.insert(mesh.group_index(group, rank)).second) {
        continue;
      }
      for (const RankId member : mesh.members(group, rank)) members.push_back(devices.of(member));
      add(places, plan.cluster, members);
    }
    all.push_back(places);
  }
  return all;
}

}  // namespace orrery
