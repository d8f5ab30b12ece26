// SPDX-License-Identifier: Apache-2.0
#include "executor/comm/stream_communicator.h"

#include "base/check.h"
#include "executor/comm/endpoint.h"
#include "executor/comm/peers.h"
#include "executor/comm/sum.h"

#include <fmt/format.h>

namespace orrery::executor {
namespace {

/// What is left of two pieces after `done` bytes of them: of the first one that is not through.
template <class Byte>
std::span<Byte> rest_of(const std::array<std::span<Byte>, 2>& pieces, std::size_t done) {
  return done < pieces[0].size() ? pieces[0].subspan(done) : pieces[1].subspan(done - pieces[0].size());
}

template <class Byte>
std::span<Byte> part_of(std::span<Byte> buffer, std::int64_t offset, std::int64_t bytes) {
  return buffer.subspan(static_cast<std::size_t>(offset), static_cast<std::size_t>(bytes));
}

}  // namespace

bool StreamCommunicator::Pair::is_through() const {
  return rest_of(out, num_sent).empty() && rest_of(in, num_received).empty();
}

StreamCommunicator::Payload StreamCommunicator::nothing() const {
  const auto n = static_cast<std::size_t>(size());
  return {.sends = std::vector<std::span<const std::byte>>(n), .receives = std::vector<std::span<std::byte>>(n)};
}

ByteStream& StreamCommunicator::stream(int peer) {
  streams_.resize(static_cast<std::size_t>(size()));
  auto& stream = streams_[static_cast<std::size_t>(peer)];
  if (!stream) stream = endpoint().peers().open(id() + " collectives", run_rank(peer), rank() < peer);
  return *stream;
}

std::unique_ptr<ByteStream> StreamCommunicator::open_stream(const std::string& name, Channel::Direction direction,
                                                            int peer) {
  return endpoint().peers().open(name, run_rank(peer), direction == Channel::Direction::send);
}

CommReport StreamCommunicator::begin(CollectiveKind kind, std::int64_t bytes, std::string_view key,
                                     const Payload& payload) {
  endpoint().set_key(key);
  kind_ = kind;
  key_ = key;
  report_ = {.own_arrival = now()};
  const Instant::rep arrival = endpoint().segment().on_common_clock(report_.own_arrival);
  own_posts_.resize(static_cast<std::size_t>(size()));
  peer_posts_.resize(own_posts_.size());
  std::vector<Pair> pairs(own_posts_.size());
  for (std::size_t peer = 0; peer < pairs.size(); ++peer) {
    own_posts_[peer] = {kind, bytes, ssize_of(payload.sends[peer]), arrival};
    pairs[peer].out[0] = std::as_bytes(std::span(&own_posts_[peer], 1));
    pairs[peer].in[0] = std::as_writable_bytes(std::span(&peer_posts_[peer], 1));
  }
  exchange(payload, std::move(pairs));
  for (int peer = 0; peer < size(); ++peer) {
    const auto p = static_cast<std::size_t>(peer);
    if (peer == rank()) continue;
    report_.bytes_sent += ssize_of(payload.sends[p]);
    take_post(report_, post_place(key_), own_posts_[p], peer, peer_posts_[p]);
  }
  if (report_.last_peer >= 0) {
    report_.last_arrival = endpoint().segment().on_own_clock(report_.last_arrival.time_since_epoch().count());
  }
  return report_;
}

void StreamCommunicator::exchange(const Payload& payload, std::vector<Pair> pairs) {
  pairs.resize(static_cast<std::size_t>(size()));
  for (std::size_t peer = 0; peer < pairs.size(); ++peer) {
    pairs[peer].out[1] = payload.sends[peer];
    pairs[peer].in[1] = payload.receives[peer];
  }
  WaitPlace place{endpoint().rank(), name_of(kind_), key_, -1};
  endpoint().wait(place, endpoint().peers().medium(), [&] {
    bool through = true;
    for (int peer = size() - 1; peer >= 0; --peer) {
      Pair& pair = pairs[static_cast<std::size_t>(peer)];
      if (peer == rank() || pair.is_through()) continue;
      move(peer, pair);
      if (pair.is_through()) continue;
      through = false;
      place.peer = run_rank(peer);  // of several that are late, the first one is named
      if (stream(peer).closed()) throw_lost_peer(endpoint().segment(), place);
    }
    return through;
  });
}

void StreamCommunicator::move(int peer, Pair& pair) {
  const auto p = static_cast<std::size_t>(peer);
  ByteStream& connection = stream(peer);
  for (std::span<const std::byte> rest; !(rest = rest_of(pair.out, pair.num_sent)).empty();) {
    const bool more = pair.num_sent < pair.out[0].size() && !pair.out[1].empty();
    const std::size_t count = connection.write(rest, more);
    pair.num_sent += count;
    if (count < rest.size()) break;
  }
  for (std::span<std::byte> rest; !(rest = rest_of(pair.in, pair.num_received)).empty();) {
    const bool reads_post = pair.num_received < pair.in[0].size();
    const std::size_t count = connection.read(rest);
    pair.num_received += count;
    if (count < rest.size()) break;
    if (!reads_post) continue;
    // Before any byte of the payload is taken for what it is not.
    CommReport ignored;
    take_post(ignored, post_place(key_), own_posts_[p], peer, peer_posts_[p]);
    check_received(post_place(key_), peer, peer_posts_[p].amount, ssize_of(pair.in[1]));
  }
}

CommReport StreamCommunicator::barrier(std::string_view key) {
  return begin(CollectiveKind::barrier, 0, key, nothing());
}

CommReport StreamCommunicator::broadcast(std::span<std::byte> values, int root, std::string_view key) {
  CHECK(0 <= root && root < size(), root, size(), key);
  Payload payload = nothing();
  if (rank() == root) payload.sends.assign(payload.sends.size(), values);
  if (rank() != root) payload.receives[static_cast<std::size_t>(root)] = values;
  return begin(CollectiveKind::broadcast, ssize_of(values), key, payload);
}

CommReport StreamCommunicator::all_gather(std::span<const std::byte> input, std::span<std::byte> output,
                                          std::string_view key) {
  const std::int64_t block = ssize_of(input);
  CHECK(ssize_of(output) == block * size(), key, block, size(), output.size());
  copy_bytes(output.data() + rank() * block, input.data(), block);
  Payload payload = nothing();
  payload.sends.assign(payload.sends.size(), input);
  for (int peer = 0; peer < size(); ++peer)
    payload.receives[static_cast<std::size_t>(peer)] = part_of(output, peer * block, block);
  return begin(CollectiveKind::all_gather, block, key, payload);
}

CommReport StreamCommunicator::all_to_all_v(std::span<const std::byte> input, const Blocks& sends,
                                            std::span<std::byte> output, const Blocks& receives, std::string_view key) {
  check_inside(sends, size(), ssize_of(input), key);
  check_inside(receives, size(), ssize_of(output), key);
  Payload payload = nothing();
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
  Payload payload = nothing();
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
  Payload sums = nothing();
  sums.sends.assign(parts.size(), sum_of_own);
  for (std::size_t member = 0; member < parts.size(); ++member)
    sums.receives[member] = part_of(values, parts[member].offset, parts[member].bytes);
  exchange(sums, {});
  report.bytes_sent += (size() - 1) * own.bytes;
  return report;
}

CommReport StreamCommunicator::do_reduce_scatter(SumType type, std::span<const std::byte> input,
                                                 std::span<std::byte> output, std::string_view key) {
  CHECK(ssize_of(input) == ssize_of(output) * size(), key, input.size(), output.size(), size());
  const std::vector<Piece> parts = even_parts(ssize_of(input) / size_of(type), size_of(type), size());
  return sum(CollectiveKind::reduce_scatter, type, input, parts, output, key);
}

}  // namespace orrery::executor
