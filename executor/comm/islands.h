// SPDX-License-Identifier: Apache-2.0
// How the members of a group lie on islands: hosts (or, with accelerators, the devices of one vendor) within which
// ranks reach each other fast, and between which there is a slow link. What crosses the link is cut twice, into a part
// for each rank of the island that sends it and into one for each rank of the island that takes it; of each pair of
// ranks the overlap of their parts travels. So islands may differ in size, every byte crosses once, and all ranks of an
// island work on it. Private to `comm/`.
#pragma once

#include "executor/comm/communicator.h"
#include "executor/comm/shm_pieces.h"
#include "executor/comm/stream_phases.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace orrery::executor {

/// Members of a group that share a host; they stand next to each other in its order.
struct Island {
  int first = 0;
  int size = 0;
};

/// The islands of a group in the order of its members, whose hosts are given. Nothing where they do not help: members
/// of one host do not stand next to each other, or none shares its host.
std::optional<std::vector<Island>> islands_of(std::span<const int> hosts);

/// How the ranks of one island share a region: one part each, in their order.
struct Cut {
  Island island;
  std::vector<Piece> parts;
};

/// One rank among the islands of its group: what it can say within its own one, and across.
class IslandSeat {
 public:
  using Payload = StreamPhases::Payload;

  /// `members`: ranks of the run; `island`: this rank's end of its island, whatever carries it.
  IslandSeat(Endpoint& endpoint, std::string_view id, std::span<const int> members, std::vector<Island> islands,
             std::unique_ptr<Communicator> island);

  int rank() const { return rank_; }
  const std::vector<Island>& islands() const { return islands_; }
  /// Which of them is this rank's.
  int own() const { return own_; }
  const Island& own_island() const { return islands_[static_cast<std::size_t>(own_)]; }
  int rank_in_island() const { return rank_ - own_island().first; }
  bool is_own(int member) const {
    return own_island().first <= member && member < own_island().first + own_island().size;
  }
  Communicator& island() { return *island_; }

  /// `count` values of `value_bytes` each, as evenly as can be over the ranks of island `index`.
  Cut even_cut(int index, std::int64_t count, std::int64_t value_bytes) const;
  /// This rank's part. Requires: the cut is of its island.
  Piece own_part(const Cut& cut) const { return cut.parts[static_cast<std::size_t>(rank_in_island())]; }

  Payload nothing() const { return phases_.nothing(); }
  /// Adds what this rank does for a region to go from one island to another: it sends of `out`, its part under `from`,
  /// or receives into `in`, its part under `to`.
  void add_crossing(Payload& payload, const Cut& from, std::span<const std::byte> out, const Cut& to,
                    std::span<std::byte> in) const;

  /// The first phase across. `within`: the report of the call within the island that has come before, with which this
  /// rank has entered. `bytes`: what all must agree on.
  CommReport enter(CollectiveKind kind, std::int64_t bytes, std::string_view key, const CommReport& within,
                   const Payload& payload);
  /// A later one; counts its bytes in the report.
  void exchange(const Payload& payload, CommReport& report) { report.bytes_on_network += phases_.exchange(payload); }

 private:
  std::vector<Island> islands_;
  std::unique_ptr<Communicator> island_;
  StreamPhases phases_;
  int rank_;
  int own_ = 0;
};

}  // namespace orrery::executor
