// SPDX-License-Identifier: Apache-2.0
#include "executor/comm/stream_phases.h"

#include "base/check.h"
#include "executor/comm/endpoint.h"
#include "executor/comm/peers.h"
#include "executor/comm/shm_pieces.h"

#include <algorithm>

namespace orrery::executor {
namespace {

/// What is left of two pieces after `done` bytes of them: of the first one that is not through.
template <class Byte>
std::span<Byte> rest_of(const std::array<std::span<Byte>, 2>& pieces, std::size_t done) {
  return done < pieces[0].size() ? pieces[0].subspan(done) : pieces[1].subspan(done - pieces[0].size());
}

}  // namespace

StreamPhases::StreamPhases(Endpoint& endpoint, std::string id, std::span<const int> members, std::vector<bool> reached)
    : endpoint_(endpoint),
      id_(std::move(id)),
      members_(members.begin(), members.end()),
      reached_(std::move(reached)),
      rank_(static_cast<int>(std::ranges::find(members_, endpoint.rank()) - members_.begin())),
      streams_(members_.size()),
      own_posts_(members_.size()),
      peer_posts_(members_.size()) {
  CHECK(rank_ < size() && reached_.size() == members_.size(), id_, rank_, reached_.size(), members_.size());
  reached_[static_cast<std::size_t>(rank_)] = false;
}

bool StreamPhases::Pair::is_through() const {
  return rest_of(out, num_sent).empty() && rest_of(in, num_received).empty();
}

StreamPhases::Payload StreamPhases::nothing() const {
  return {.sends = std::vector<std::span<const std::byte>>(members_.size()),
          .receives = std::vector<std::span<std::byte>>(members_.size())};
}

ByteStream& StreamPhases::stream(int peer) {
  const auto p = static_cast<std::size_t>(peer);
  if (!streams_[p]) streams_[p] = endpoint_.peers().open(id_ + " collectives", members_[p], rank_ < peer);
  return *streams_[p];
}

CommReport StreamPhases::begin(CollectiveKind kind, std::int64_t bytes, std::string_view key, const Payload& payload,
                               Instant arrival) {
  endpoint_.set_key(key);
  kind_ = kind;
  key_ = key;
  const Instant::rep common = endpoint_.segment().on_common_clock(arrival);
  std::vector<Pair> pairs(members_.size());
  for (std::size_t peer = 0; peer < pairs.size(); ++peer) {
    if (!reached_[peer]) continue;
    own_posts_[peer] = {kind, bytes, ssize_of(payload.sends[peer]), common};
    pairs[peer].out[0] = std::as_bytes(std::span(&own_posts_[peer], 1));
    pairs[peer].in[0] = std::as_writable_bytes(std::span(&peer_posts_[peer], 1));
  }
  CommReport report = {.own_arrival = arrival};
  report.bytes_sent = report.bytes_on_network = move_all(payload, std::move(pairs));
  for (int peer = 0; peer < size(); ++peer) {
    const auto p = static_cast<std::size_t>(peer);
    if (reached_[p]) take_post(report, post_place(), own_posts_[p], peer, peer_posts_[p]);
  }
  if (report.last_peer >= 0) {
    report.last_arrival = endpoint_.segment().on_own_clock(report.last_arrival.time_since_epoch().count());
  }
  return report;
}

std::int64_t StreamPhases::exchange(const Payload& payload) {
  return move_all(payload, std::vector<Pair>(members_.size()));
}

std::int64_t StreamPhases::move_all(const Payload& payload, std::vector<Pair> pairs) {
  std::int64_t bytes_sent = 0;
  for (std::size_t peer = 0; peer < pairs.size(); ++peer) {
    if (!reached_[peer]) continue;
    pairs[peer].out[1] = payload.sends[peer];
    pairs[peer].in[1] = payload.receives[peer];
    bytes_sent += ssize_of(payload.sends[peer]);
  }
  WaitPlace place{endpoint_.rank(), name_of(kind_), key_, -1};
  endpoint_.wait(place, endpoint_.peers().medium(), [&] {
    bool through = true;
    for (int peer = size() - 1; peer >= 0; --peer) {
      Pair& pair = pairs[static_cast<std::size_t>(peer)];
      if (pair.is_through()) continue;
      move(peer, pair);
      if (pair.is_through()) continue;
      through = false;
      place.peer = members_[static_cast<std::size_t>(peer)];  // of several that are late, the first one is named
      if (stream(peer).closed()) throw_lost_peer(endpoint_.segment(), place);
    }
    return through;
  });
  return bytes_sent;
}

void StreamPhases::move(int peer, Pair& pair) {
  const auto p = static_cast<std::size_t>(peer);
  ByteStream& connection = stream(peer);
  for (std::span<const std::byte> rest; !(rest = rest_of(pair.out, pair.num_sent)).empty();) {
    const bool more = pair.num_sent < pair.out[0].size() && !pair.out[1].empty();
    const std::size_t count = connection.write(rest, more);
    pair.num_sent += count;
    if (count < rest.size()) break;
  }
  // A post of the peer's may break a check and end this rank, and then the peer has to know this one's by itself.
  if (pair.num_sent < pair.out[0].size()) return;
  for (std::span<std::byte> rest; !(rest = rest_of(pair.in, pair.num_received)).empty();) {
    const bool reads_post = pair.num_received < pair.in[0].size();
    const std::size_t count = connection.read(rest);
    pair.num_received += count;
    if (count < rest.size()) break;
    if (!reads_post) continue;
    // Before any byte of the payload is taken for what it is not.
    CommReport ignored;
    take_post(ignored, post_place(), own_posts_[p], peer, peer_posts_[p]);
    check_received(post_place(), peer, peer_posts_[p].amount, ssize_of(pair.in[1]));
  }
}

}  // namespace orrery::executor
