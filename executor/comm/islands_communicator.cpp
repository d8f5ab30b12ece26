// SPDX-License-Identifier: Apache-2.0
#include "executor/comm/islands_communicator.h"

#include "base/check.h"
#include "executor/comm/endpoint.h"
#include "executor/comm/islands_sum.h"
#include "executor/comm/peers.h"
#include "executor/comm/shm_ring.h"

#include <numeric>

namespace orrery::executor {
namespace {

Blocks blocks_of(const std::vector<Piece>& parts) {
  Blocks blocks;
  for (const Piece& part : parts) {
    blocks.counts.push_back(part.bytes);
    blocks.offsets.push_back(part.offset);
  }
  return blocks;
}

/// The blocks of the ranks of an island, in the same buffer.
Blocks blocks_within(const Blocks& blocks, const Island& island) {
  const auto part = [&](const std::vector<std::int64_t>& all) {
    return std::vector<std::int64_t>(all.begin() + island.first, all.begin() + island.first + island.size);
  };
  return {part(blocks.counts), part(blocks.offsets)};
}

std::int64_t total(const Blocks& blocks) {
  return std::accumulate(blocks.counts.begin(), blocks.counts.end(), std::int64_t{0});
}

std::int64_t bytes_of(const Cut& cut) { return cut.parts.back().offset + cut.parts.back().bytes; }

}  // namespace

IslandsCommunicator::IslandsCommunicator(Endpoint& endpoint, std::string_view id, std::span<const int> members,
                                         std::vector<Island> islands, std::unique_ptr<Communicator> island)
    : GroupMember(endpoint, id, members), seat_(endpoint, id, members, std::move(islands), std::move(island)) {}

std::unique_ptr<ByteStream> IslandsCommunicator::open_stream(const std::string& name, Channel::Direction direction,
                                                             int peer) {
  if (!seat_.is_own(peer)) {
    return endpoint().peers().open(name, run_rank(peer), direction == Channel::Direction::send);
  }
  return ShmRing::in(endpoint().segment(), name);
}

CommReport IslandsCommunicator::barrier(std::string_view key) {
  const CommReport within = seat_.island().barrier(key);
  return seat_.enter(CollectiveKind::barrier, 0, key, within, seat_.nothing());
}

Cut IslandsCommunicator::cut_of(int island, const Blocks& blocks) const {
  const Island& of = seat_.islands()[static_cast<std::size_t>(island)];
  Cut cut{of, {}};
  const std::int64_t begin = blocks.offsets[static_cast<std::size_t>(of.first)];
  const auto first = static_cast<std::size_t>(of.first), size = static_cast<std::size_t>(of.size);
  for (std::size_t member = first; member < first + size; ++member) {
    cut.parts.push_back({blocks.offsets[member] - begin, blocks.counts[member]});
  }
  return cut;
}

void IslandsCommunicator::share(std::span<std::byte> region, const Cut& cut, std::string_view key) {
  const Piece own = seat_.own_part(cut);
  seat_.island().all_gather_v(part_of(region, own.offset, own.bytes), region, blocks_of(cut.parts), key);
}

CommReport IslandsCommunicator::gather(std::span<const std::byte> input, std::span<std::byte> output,
                                       const Blocks& blocks, std::int64_t bytes, std::string_view key) {
  check_inside(blocks, size(), ssize_of(output), key);
  const int num_islands = static_cast<int>(seat_.islands().size());
  const auto region_of = [&](const Cut& cut) {
    return part_of(output, blocks.offsets[static_cast<std::size_t>(cut.island.first)], bytes_of(cut));
  };
  const Cut own = cut_of(seat_.own(), blocks);
  const CommReport within = seat_.island().all_gather_v(input, region_of(own), blocks_of(own.parts), key);
  IslandSeat::Payload payload = seat_.nothing();
  for (int other = 0; other < num_islands; ++other) {
    if (other == seat_.own()) continue;
    seat_.add_crossing(payload, own, input, seat_.even_cut(other, bytes_of(own), 1), {});
    const Cut theirs = cut_of(other, blocks), here = seat_.even_cut(seat_.own(), bytes_of(theirs), 1);
    const Piece mine = seat_.own_part(here);
    seat_.add_crossing(payload, theirs, {}, here, part_of(region_of(theirs), mine.offset, mine.bytes));
  }
  CommReport report = seat_.enter(CollectiveKind::all_gather, bytes, key, within, payload);
  for (int other = 0; other < num_islands; ++other) {
    if (other == seat_.own()) continue;
    const std::span<std::byte> region = region_of(cut_of(other, blocks));
    share(region, seat_.even_cut(seat_.own(), ssize_of(region), 1), key);
  }
  report.bytes_sent = (size() - 1) * ssize_of(input);
  return report;
}

CommReport IslandsCommunicator::all_gather(std::span<const std::byte> input, std::span<std::byte> output,
                                           std::string_view key) {
  CHECK(ssize_of(output) == ssize_of(input) * size(), key, input.size(), size(), output.size());
  return gather(input, output, Blocks::even(size(), ssize_of(input)), ssize_of(input), key);
}

CommReport IslandsCommunicator::all_gather_v(std::span<const std::byte> input, std::span<std::byte> output,
                                             const Blocks& blocks, std::string_view key) {
  if (!blocks.are_contiguous()) return Communicator::all_gather_v(input, output, blocks, key);
  CHECK(std::ssize(blocks.counts) == size() && blocks.counts[static_cast<std::size_t>(rank())] == ssize_of(input), key,
        input.size());
  return gather(input, output, blocks, total(blocks), key);
}

CommReport IslandsCommunicator::all_to_all_v(std::span<const std::byte> input, const Blocks& sends,
                                             std::span<std::byte> output, const Blocks& receives,
                                             std::string_view key) {
  check_inside(sends, size(), ssize_of(input), key);
  check_inside(receives, size(), ssize_of(output), key);
  const Island& own = seat_.own_island();
  const CommReport within =
      seat_.island().all_to_all_v(input, blocks_within(sends, own), output, blocks_within(receives, own), key);
  IslandSeat::Payload payload = seat_.nothing();
  for (std::size_t peer = 0; peer < payload.sends.size(); ++peer) {
    payload.sends[peer] = part_of(input, sends.offsets[peer], sends.counts[peer]);
    payload.receives[peer] = part_of(output, receives.offsets[peer], receives.counts[peer]);
  }
  CommReport report = seat_.enter(CollectiveKind::all_to_all_v, 0, key, within, payload);
  report.bytes_sent += within.bytes_sent;
  return report;
}

CommReport IslandsCommunicator::broadcast(std::span<std::byte> values, int root, std::string_view key) {
  CHECK(0 <= root && root < size(), root, size(), key);
  const bool is_source = seat_.is_own(root);
  const CommReport within =
      is_source ? seat_.island().broadcast(values, root - seat_.own_island().first, key) : seat_.island().barrier(key);
  const auto cut_of_island = [&](int island) { return seat_.even_cut(island, ssize_of(values), 1); };
  IslandSeat::Payload payload = seat_.nothing();
  const Cut own = cut_of_island(seat_.own());
  const std::span<std::byte> part = part_of(values, seat_.own_part(own).offset, seat_.own_part(own).bytes);
  for (int other = 0; other < static_cast<int>(seat_.islands().size()); ++other) {
    if (other == seat_.own()) continue;
    const Cut theirs = cut_of_island(other);
    const bool is_theirs = theirs.island.first <= root && root < theirs.island.first + theirs.island.size;
    if (is_source) seat_.add_crossing(payload, own, part, theirs, {});
    if (is_theirs) seat_.add_crossing(payload, theirs, {}, own, part);
  }
  CommReport report = seat_.enter(CollectiveKind::broadcast, ssize_of(values), key, within, payload);
  if (!is_source) share(values, own, key);
  report.bytes_sent = rank() == root ? (size() - 1) * ssize_of(values) : 0;
  return report;
}

CommReport IslandsCommunicator::do_all_reduce(SumType type, std::span<std::byte> values, std::string_view key) {
  const std::vector<Piece> parts = even_parts(ssize_of(values) / size_of(type), size_of(type), size());
  const std::int64_t own = parts[static_cast<std::size_t>(rank())].bytes;
  AllReduceOverIslands sum(seat_, type, values, endpoint().segment().options().chunk_bytes, key);
  CommReport report = sum.run();
  // As one island would: the parts of the others go to them, and the sum of the own one to each of them.
  report.bytes_sent = ssize_of(values) - own + (size() - 1) * own;
  return report;
}

CommReport IslandsCommunicator::reduce_scatter_v(SumType type, std::span<const std::byte> input, const Blocks& blocks,
                                                 std::span<std::byte> output, std::string_view key) {
  if (!blocks.are_contiguous()) return Communicator::reduce_scatter_v(type, input, blocks, output, key);
  check_inside(blocks, size(), ssize_of(input), key);
  CHECK(blocks.counts[static_cast<std::size_t>(rank())] == ssize_of(output), key, output.size());
  ReduceScatterOverIslands sum(seat_, type, part_of(input, 0, total(blocks)), blocks, output,
                               endpoint().segment().options().chunk_bytes, key);
  CommReport report = sum.run();
  report.bytes_sent = total(blocks) - ssize_of(output);
  return report;
}

CommReport IslandsCommunicator::do_reduce_scatter(SumType type, std::span<const std::byte> input,
                                                  std::span<std::byte> output, std::string_view key) {
  CHECK(ssize_of(input) == ssize_of(output) * size(), key, input.size(), output.size(), size());
  return reduce_scatter_v(type, input, Blocks::even(size(), ssize_of(output)), output, key);
}

}  // namespace orrery::executor
