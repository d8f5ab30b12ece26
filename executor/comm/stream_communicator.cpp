// SPDX-License-Identifier: Apache-2.0
#include "executor/comm/stream_communicator.h"

#include "base/check.h"
#include "executor/comm/endpoint.h"
#include "executor/comm/peers.h"
#include "executor/comm/sum.h"

namespace orrery::executor {

StreamCommunicator::StreamCommunicator(Endpoint& endpoint, std::string_view id, std::span<const int> members)
    : GroupMember(endpoint, id, members),
      phases_(endpoint, std::string(id), members, std::vector<bool>(members.size(), true)) {}

std::unique_ptr<ByteStream> StreamCommunicator::open_stream(const std::string& name, Channel::Direction direction,
                                                            int peer) {
  return endpoint().peers().open(name, run_rank(peer), direction == Channel::Direction::send);
}

CommReport StreamCommunicator::barrier(std::string_view key) {
  return begin(CollectiveKind::barrier, 0, key, phases_.nothing());
}

CommReport StreamCommunicator::broadcast(std::span<std::byte> values, int root, std::string_view key) {
  CHECK(0 <= root && root < size(), root, size(), key);
  Payload payload = phases_.nothing();
  if (rank() == root) payload.sends.assign(payload.sends.size(), values);
  if (rank() != root) payload.receives[static_cast<std::size_t>(root)] = values;
  return begin(CollectiveKind::broadcast, ssize_of(values), key, payload);
}

CommReport StreamCommunicator::all_gather(std::span<const std::byte> input, std::span<std::byte> output,
                                          std::string_view key) {
  const std::int64_t block = ssize_of(input);
  CHECK(ssize_of(output) == block * size(), key, block, size(), output.size());
  copy_bytes(output.data() + rank() * block, input.data(), block);
  Payload payload = phases_.nothing();
  payload.sends.assign(payload.sends.size(), input);
  for (int peer = 0; peer < size(); ++peer)
    payload.receives[static_cast<std::size_t>(peer)] = part_of(output, peer * block, block);
  return begin(CollectiveKind::all_gather, block, key, payload);
}

CommReport StreamCommunicator::all_to_all_v(std::span<const std::byte> input, const Blocks& sends,
                                            std::span<std::byte> output, const Blocks& receives, std::string_view key) {
  check_inside(sends, size(), ssize_of(input), key);
  check_inside(receives, size(), ssize_of(output), key);
  Payload payload = phases_.nothing();
  for (std::size_t peer = 0; peer < payload.sends.size(); ++peer) {
    payload.sends[peer] = part_of(input, sends.offsets[peer], sends.counts[peer]);
    payload.receives[peer] = part_of(output, receives.offsets[peer], receives.counts[peer]);
  }
  const auto own = static_cast<std::size_t>(rank());
  check_received(post_place(key), rank(), sends.counts[own], receives.counts[own]);
  copy_bytes(payload.receives[own].data(), payload.sends[own].data(), sends.counts[own]);
  return begin(CollectiveKind::all_to_all_v, 0, key, payload);
}

CommReport StreamCommunicator::sum(CollectiveKind kind, SumType type, std::span<const std::byte> input,
                                   const std::vector<Piece>& parts, std::span<std::byte> target, std::string_view key) {
  const auto own = static_cast<std::size_t>(rank());
  const std::int64_t part = parts[own].bytes;
  room_.resize(static_cast<std::size_t>(part * size()));
  Payload payload = phases_.nothing();
  std::vector<const std::byte*> sources;
  for (std::size_t member = 0; member < parts.size(); ++member) {
    payload.sends[member] = part_of(input, parts[member].offset, parts[member].bytes);
    payload.receives[member] = part_of(std::span(room_), static_cast<std::int64_t>(member) * part, part);
    sources.push_back(member == own ? payload.sends[own].data() : payload.receives[member].data());
  }
  const CommReport report = begin(kind, ssize_of(input), key, payload);
  sum_in_order(type, sources, target.data(), part / size_of(type));
  return report;
}

CommReport StreamCommunicator::do_all_reduce(SumType type, std::span<std::byte> values, std::string_view key) {
  const std::vector<Piece> parts = even_parts(ssize_of(values) / size_of(type), size_of(type), size());
  const Piece own = parts[static_cast<std::size_t>(rank())];
  const std::span<std::byte> sum_of_own = part_of(values, own.offset, own.bytes);
  CommReport report = sum(CollectiveKind::all_reduce, type, values, parts, sum_of_own, key);
  Payload sums = phases_.nothing();
  sums.sends.assign(parts.size(), sum_of_own);
  for (std::size_t member = 0; member < parts.size(); ++member)
    sums.receives[member] = part_of(values, parts[member].offset, parts[member].bytes);
  const std::int64_t handed_out = phases_.exchange(sums);
  report.bytes_sent += handed_out;
  report.bytes_on_network += handed_out;
  return report;
}

CommReport StreamCommunicator::do_reduce_scatter(SumType type, std::span<const std::byte> input,
                                                 std::span<std::byte> output, std::string_view key) {
  CHECK(ssize_of(input) == ssize_of(output) * size(), key, input.size(), output.size(), size());
  const std::vector<Piece> parts = even_parts(ssize_of(input) / size_of(type), size_of(type), size());
  return sum(CollectiveKind::reduce_scatter, type, input, parts, output, key);
}

}  // namespace orrery::executor
