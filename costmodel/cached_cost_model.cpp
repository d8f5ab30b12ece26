// SPDX-License-Identifier: Apache-2.0
#include "costmodel/cached_cost_model.h"

namespace orrery::costmodel {
namespace {

template <class Map, class Key, class Ask>
auto known(Map& map, Key&& key, Ask ask) {
  const auto found = map.find(key);
  if (found != map.end()) return found->second;
  return map.emplace(std::forward<Key>(key), ask()).first->second;
}

}  // namespace

OpTime CachedCostModel::compute(const OpKey& key, const OpShape& shape, const ResolvedLoad& load,
                                DeviceIndex device) const {
  return known(compute_, std::tuple(key.op, key.pass, shape), [&] { return model_.compute(key, shape, load, device); });
}

CommTime CachedCostModel::collective(const CollectiveShape& shape, std::span<const DeviceIndex> members) const {
  return remembered(collectives_, shape, members, [&] { return model_.collective(shape, members); });
}

CommTime CachedCostModel::exchange(const ExchangeShape& shape, const RoutingMatrix& routing,
                                   std::span<const DeviceIndex> members) const {
  return remembered(exchanges_, Exchange(shape, routing.num_experts), members,
                    [&] { return model_.exchange(shape, routing, members); });
}

CommTime CachedCostModel::copy(const CopyShape& shape, DeviceIndex device) const { return model_.copy(shape, device); }

CommTime CachedCostModel::peer(const PeerShape& shape, DeviceIndex from, DeviceIndex to) const {
  return known(peers_, std::tuple(shape, from, to), [&] { return model_.peer(shape, from, to); });
}

}  // namespace orrery::costmodel
