// SPDX-License-Identifier: Apache-2.0
#include "executor/comm/shm_endpoint.h"

#include "base/check.h"
#include "executor/comm/self_communicator.h"
#include "executor/comm/shm_communicator.h"
#include "executor/comm/shm_transfer.h"
#include "executor/comm/shm_wait.h"

#include <algorithm>
#include <numeric>

namespace orrery::executor {

ShmEndpoint::ShmEndpoint(std::shared_ptr<Segment> segment, int rank) : segment_(std::move(segment)), rank_(rank) {
  segment_->set_running(rank);
}

ShmEndpoint::~ShmEndpoint() { segment_->set_finished(rank_); }

std::unique_ptr<Communicator> ShmEndpoint::group(std::string_view id, std::span<const int> members) {
  CHECK(std::ranges::count(members, rank_) == 1, id, rank_);
  if (members.size() == 1) return std::make_unique<SelfCommunicator>();
  return std::make_unique<ShmCommunicator>(*this, id, members);
}

std::unique_ptr<Communicator> ShmEndpoint::world() {
  std::vector<int> everyone(static_cast<std::size_t>(size()));
  std::iota(everyone.begin(), everyone.end(), 0);
  return group("world", everyone);
}

void ShmEndpoint::progress() {
  for (ShmChannel* channel : channels_) channel->progress();
}

void ShmEndpoint::wait_until(const std::function<bool()>& ready, std::string_view what, std::string_view key,
                             int peer) {
  set_key(key);
  executor::wait_until(*segment_, {rank_, what, key, peer}, ready, [this] { progress(); });
}

}  // namespace orrery::executor
