// SPDX-License-Identifier: Apache-2.0
#include "costmodel/cached_cost_model.h"

#include <array>
#include <variant>

namespace orrery::costmodel {
namespace {

template <class Map, class Key, class Ask>
auto known(Map& map, Key&& key, Ask ask) {
  const auto found = map.find(key);
  if (found != map.end()) return found->second;
  return map.emplace(std::forward<Key>(key), ask()).first->second;
}

/// The sizes in which shapes of an op differ; that all else is the same is the map's business.
struct SizesOf {
  using Sizes = std::array<std::int64_t, 4>;
  Sizes operator()(const GemmShape& s) const { return {s.m, s.n, s.k, static_cast<std::int64_t>(s.dtype)}; }
  Sizes operator()(const GroupedGemmShape& s) const { return {s.rows.count, s.num_experts, s.n, s.k}; }
  Sizes operator()(const AttentionShape& s) const { return {s.batch, s.heads, s.seq, s.kv_seq + s.window}; }
  Sizes operator()(const MemoryShape& s) const { return {s.rows.count, s.read_per_row, s.written_per_row, 0}; }
  template <class Communication>
  Sizes operator()(const Communication&) const {
    return {};
  }
};

std::size_t hash_of(std::size_t kind, const std::array<std::int64_t, 4>& sizes) {
  std::size_t hash = kind;
  for (const std::int64_t size : sizes) {
    hash = (hash ^ static_cast<std::size_t>(size)) * 0x9e3779b97f4a7c15U;
    hash ^= hash >> 32U;
  }
  return hash;
}

}  // namespace

std::size_t CachedCostModel::Hash::operator()(const std::tuple<OpCode, Pass, OpShape>& asked) const {
  const auto& [op, pass, shape] = asked;
  const std::array<std::int64_t, 4> sizes = std::visit(SizesOf{}, shape);
  return hash_of(static_cast<std::size_t>(op) * 8 + static_cast<std::size_t>(pass), sizes);
}

std::size_t CachedCostModel::GroupHash::of(const CollectiveShape& shape, View members) {
  const auto kind = static_cast<std::size_t>(shape.kind) * 32 + static_cast<std::size_t>(shape.group);
  return hash_of(kind, {shape.bytes, shape.rows.count, std::ssize(members), members.back().value()});
}

std::size_t CachedCostModel::GroupHash::of(const Exchange& exchange, View members) {
  const ExchangeShape& shape = exchange.first;
  const std::size_t kind = 2 * static_cast<std::size_t>(shape.two_level) + static_cast<std::size_t>(shape.to_experts);
  return hash_of(kind, {shape.rows.count, shape.row_bytes, std::ssize(members), members.back().value()});
}

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

std::optional<double> CachedCostModel::slowdown_beside(double held, const OpKey& key, const OpShape& shape,
                                                       const ResolvedLoad& load, DeviceIndex device) const {
  return known(slowdowns_[held], std::tuple(key.op, key.pass, shape),
               [&] { return model_.slowdown_beside(held, key, shape, load, device); });
}

CommTime CachedCostModel::copy(const CopyShape& shape, DeviceIndex device) const { return model_.copy(shape, device); }

CommTime CachedCostModel::peer(const PeerShape& shape, DeviceIndex from, DeviceIndex to) const {
  return known(peers_, std::tuple(shape, from, to), [&] { return model_.peer(shape, from, to); });
}

}  // namespace orrery::costmodel
