// SPDX-License-Identifier: Apache-2.0
// A cost model that remembers its answers. A search asks the same few thousand questions millions of times.
// Only for balanced loads on clusters with one kind of device: an answer is found again by shape and members alone.
#pragma once

#include "costmodel/cost_model.h"

#include <cstdint>
#include <cstring>
#include <map>
#include <span>
#include <tuple>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

namespace orrery::costmodel {

/// Not thread-safe.
class CachedCostModel : public CostModel {
 public:
  /// `model` must outlive this object.
  explicit CachedCostModel(const CostModel& model) : model_(model) {}

  OpTime compute(const OpKey& key, const OpShape& shape, const ResolvedLoad& load, DeviceIndex device) const override;
  CommTime collective(const CollectiveShape& shape, std::span<const DeviceIndex> members) const override;
  /// Requires: a balanced routing.
  CommTime exchange(const ExchangeShape& shape, const RoutingMatrix& routing,
                    std::span<const DeviceIndex> members) const override;
  std::optional<double> held_by(const ExchangeShape& shape, std::int64_t num_experts,
                                std::span<const DeviceIndex> members) const override {
    return model_.held_by(shape, num_experts, members);
  }
  std::optional<double> slowdown_beside(double held, const OpKey& key, const OpShape& shape, const ResolvedLoad& load,
                                        DeviceIndex device) const override;
  CommTime copy(const CopyShape& shape, DeviceIndex device) const override;
  CommTime peer(const PeerShape& shape, DeviceIndex from, DeviceIndex to) const override;
  OverlapRule overlap(DeviceIndex device) const override { return model_.overlap(device); }
  Seconds dispatch(const OpKey& key, const OpShape& shape) const override { return model_.dispatch(key, shape); }

 private:
  using View = std::span<const DeviceIndex>;
  using List = std::vector<DeviceIndex>;
  /// A question about a group. Looked up by a view of its members, so that asking again makes no list.
  template <class Shape, class Members>
  struct Asked {
    Shape shape;
    Members members;
  };
  struct SameGroup {
    using is_transparent = void;
    template <class Shape, class A, class B>
    bool operator()(const Asked<Shape, A>& a, const Asked<Shape, B>& b) const {
      static_assert(std::has_unique_object_representations_v<DeviceIndex>);  // so that bytes tell lists apart
      const View members_a = a.members, members_b = b.members;
      return a.shape == b.shape && members_a.size() == members_b.size() &&
             std::memcmp(members_a.data(), members_b.data(), members_a.size_bytes()) == 0;
    }
  };
  struct GroupHash {
    using is_transparent = void;
    template <class Shape, class Members>
    std::size_t operator()(const Asked<Shape, Members>& asked) const {
      return of(asked.shape, asked.members);
    }
    static std::size_t of(const CollectiveShape& shape, std::span<const DeviceIndex> members);
    static std::size_t of(const std::pair<ExchangeShape, std::int64_t>& shape, std::span<const DeviceIndex> members);
  };
  template <class Shape>
  using OfGroups = std::unordered_map<Asked<Shape, List>, CommTime, GroupHash, SameGroup>;
  using Exchange = std::pair<ExchangeShape, std::int64_t>;  // of so many experts

  template <class Shape, class Ask>
  static CommTime remembered(OfGroups<Shape>& map, const Shape& shape, View members, Ask ask) {
    const auto found = map.find(Asked<Shape, View>{shape, members});
    if (found != map.end()) return found->second;
    return map.emplace(Asked<Shape, List>{shape, {members.begin(), members.end()}}, ask()).first->second;
  }

  const CostModel& model_;
  struct Hash {
    std::size_t operator()(const std::tuple<OpCode, Pass, OpShape>& asked) const;
  };
  template <class Answer>
  using OfOps = std::unordered_map<std::tuple<OpCode, Pass, OpShape>, Answer, Hash>;
  mutable OfOps<OpTime> compute_;
  mutable std::map<double, OfOps<std::optional<double>>> slowdowns_;  // by multiprocessors held
  mutable OfGroups<CollectiveShape> collectives_;
  mutable OfGroups<Exchange> exchanges_;
  mutable std::map<std::tuple<PeerShape, DeviceIndex, DeviceIndex>, CommTime> peers_;
};

}  // namespace orrery::costmodel
