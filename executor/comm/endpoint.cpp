// SPDX-License-Identifier: Apache-2.0
#include "executor/comm/endpoint.h"

#include "base/check.h"
#include "executor/comm/islands_communicator.h"
#include "executor/comm/peers.h"
#include "executor/comm/self_communicator.h"
#include "executor/comm/shm_communicator.h"
#include "executor/comm/stream_communicator.h"
#include "executor/comm/stream_transfer.h"

#include <algorithm>
#include <numeric>
#include <thread>

#include <fmt/format.h>
#include <sched.h>

namespace orrery::executor {
namespace {

constexpr auto kShortSleep = std::chrono::microseconds(20);  // nobody wakes a rank that waits for memory or MPI
constexpr auto kLongSleep = std::chrono::milliseconds(5);    // sockets do; this is for news that comes by memory

}  // namespace

Endpoint::Endpoint(std::shared_ptr<Segment> segment, int rank) : segment_(std::move(segment)), rank_(rank) {
  segment_->set_running(rank);
}

Endpoint::Endpoint(std::shared_ptr<Segment> segment, int rank, std::unique_ptr<Peers> peers)
    : Endpoint(std::move(segment), rank) {
  peers_ = std::move(peers);
}

Endpoint::~Endpoint() {
  if (peers_ && !segment_->failure()) peers_->leave();
  segment_->set_finished(rank_);
}

std::unique_ptr<Communicator> Endpoint::group(std::string_view id, std::span<const int> members) {
  CHECK(std::ranges::count(members, rank_) == 1, id, rank_);
  CHECK(ids_.emplace(id).second, id, rank_);  // else two communicators would read the same bytes
  if (members.size() == 1) return std::make_unique<SelfCommunicator>();
  std::vector<int> hosts;
  for (const int member : members) hosts.push_back(peers_ ? peers_->host_of(member) : 0);
  if (std::ranges::count(hosts, hosts.front()) == std::ssize(hosts))
    return std::make_unique<ShmCommunicator>(*this, id, members);
  if (auto islands = islands_of(hosts)) return islands_group(id, members, *std::move(islands));
  return std::make_unique<StreamCommunicator>(*this, id, members);
}

std::unique_ptr<Communicator> Endpoint::islands_group(std::string_view id, std::span<const int> members,
                                                      std::vector<Island> islands) {
  const auto rank = std::ranges::find(members, rank_) - members.begin();
  const auto own =
      std::ranges::find_if(islands, [&](const Island& island) { return rank < island.first + island.size; });
  const std::span<const int> neighbours =
      members.subspan(static_cast<std::size_t>(own->first), static_cast<std::size_t>(own->size));
  auto island = group(fmt::format("{} island {}", id, own - islands.begin()), neighbours);
  return std::make_unique<IslandsCommunicator>(*this, id, members, std::move(islands), std::move(island));
}

std::unique_ptr<Communicator> Endpoint::world() {
  std::vector<int> everyone(static_cast<std::size_t>(size()));
  std::iota(everyone.begin(), everyone.end(), 0);
  return group("world", everyone);
}

void Endpoint::progress() {
  for (Channel* channel : channels_) channel->progress();
}

void Endpoint::wait_until(const std::function<bool()>& ready, std::string_view what, std::string_view key, int peer) {
  set_key(key);
  wait({rank_, what, key, peer}, Medium::polled, ready);
}

void Endpoint::rest(Patience::Rest rest, Medium medium) {
  const auto is_polled = [](const Channel* channel) { return channel->waits_for(Medium::polled); };
  const bool must_look = medium == Medium::polled || std::ranges::any_of(channels_, is_polled);
  if (peers_ && !must_look) {
    peers_->sleep(kLongSleep);
  } else if (rest == Patience::Rest::give_way) {
    ::sched_yield();
  } else if (peers_) {
    peers_->sleep(kShortSleep);
  } else {
    std::this_thread::sleep_for(kShortSleep);
  }
}

std::uint64_t Endpoint::num_moved() const { return peers_ ? peers_->num_moved() : 0; }

}  // namespace orrery::executor
