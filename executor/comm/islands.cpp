// SPDX-License-Identifier: Apache-2.0
#include "executor/comm/islands.h"

#include "base/check.h"
#include "executor/comm/endpoint.h"

#include <algorithm>

namespace orrery::executor {
namespace {

std::vector<bool> outside(const Island& own, std::size_t num_members) {
  std::vector<bool> outside(num_members, true);
  std::fill_n(outside.begin() + own.first, own.size, false);
  return outside;
}

int island_of(const std::vector<Island>& islands, int rank) {
  const auto found = std::ranges::find_if(
      islands, [&](const Island& island) { return island.first <= rank && rank < island.first + island.size; });
  CHECK(found != islands.end(), rank);
  return static_cast<int>(found - islands.begin());
}

int rank_among(std::span<const int> members, int run_rank) {
  return static_cast<int>(std::ranges::find(members, run_rank) - members.begin());
}

}  // namespace

std::optional<std::vector<Island>> islands_of(std::span<const int> hosts) {
  std::vector<Island> islands;
  std::vector<int> seen;
  for (std::size_t member = 0; member < hosts.size(); ++member) {
    if (member > 0 && hosts[member] == hosts[member - 1]) {
      ++islands.back().size;
      continue;
    }
    if (std::ranges::find(seen, hosts[member]) != seen.end()) return std::nullopt;
    seen.push_back(hosts[member]);
    islands.push_back({static_cast<int>(member), 1});
  }
  if (islands.size() < 2 || islands.size() == hosts.size()) return std::nullopt;
  return islands;
}

IslandSeat::IslandSeat(Endpoint& endpoint, std::string_view id, std::span<const int> members,
                       std::vector<Island> islands, std::unique_ptr<Communicator> island)
    : islands_(std::move(islands)),
      island_(std::move(island)),
      phases_(endpoint, std::string(id), members,
              outside(islands_[static_cast<std::size_t>(island_of(islands_, rank_among(members, endpoint.rank())))],
                      members.size())),
      rank_(rank_among(members, endpoint.rank())),
      own_(island_of(islands_, rank_)) {
  CHECK(island_->size() == own_island().size && island_->rank() == rank_in_island(), id, island_->size(), rank_);
}

Cut IslandSeat::even_cut(int index, std::int64_t count, std::int64_t value_bytes) const {
  const Island& island = islands_[static_cast<std::size_t>(index)];
  return {island, even_parts(count, value_bytes, island.size)};
}

void IslandSeat::add_crossing(Payload& payload, const Cut& from, std::span<const std::byte> out, const Cut& to,
                              std::span<std::byte> in) const {
  // The overlap of this rank's part with each of the other island's, from the begin of this rank's part on.
  const auto for_each_overlap = [this](const Cut& own, const Cut& other, auto&& use) {
    const auto index = static_cast<std::size_t>(rank_ - own.island.first);
    if (rank_ < own.island.first || index >= own.parts.size()) return;
    const Piece& mine = own.parts[index];
    for (std::size_t i = 0; i < other.parts.size(); ++i) {
      const Piece& theirs = other.parts[i];
      const std::int64_t begin = std::max(mine.offset, theirs.offset);
      const std::int64_t end = std::min(mine.offset + mine.bytes, theirs.offset + theirs.bytes);
      if (begin < end) use(static_cast<std::size_t>(other.island.first) + i, begin - mine.offset, end - begin);
    }
  };
  for_each_overlap(from, to, [&](std::size_t member, std::int64_t offset, std::int64_t bytes) {
    payload.sends[member] = part_of(out, offset, bytes);
  });
  for_each_overlap(to, from, [&](std::size_t member, std::int64_t offset, std::int64_t bytes) {
    payload.receives[member] = part_of(in, offset, bytes);
  });
}

CommReport IslandSeat::enter(CollectiveKind kind, std::int64_t bytes, std::string_view key, const CommReport& within,
                             const Payload& payload) {
  const bool is_alone = own_island().size == 1;
  CommReport report = phases_.begin(kind, bytes, key, payload, is_alone ? now() : within.own_arrival);
  if (!is_alone && (report.last_peer < 0 || within.last_arrival > report.last_arrival)) {
    report.last_peer = own_island().first + within.last_peer;
    report.last_arrival = within.last_arrival;
  }
  return report;
}

}  // namespace orrery::executor
