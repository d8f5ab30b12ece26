// SPDX-License-Identifier: Apache-2.0
#include "executor/comm/mpi_peers.h"

#include "base/fnv.h"
#include "executor/comm/mpi_stream.h"

#include <cstring>
#include <thread>

namespace orrery::executor {
namespace {

constexpr int kTagOfHellos = 0;
constexpr auto kLookEvery = std::chrono::microseconds(20);

}  // namespace

MpiPeers::MpiPeers(int rank, int num_ranks)
    : world_(rank, num_ranks),
      num_tags_(static_cast<std::size_t>(num_ranks)),
      next_hellos_(static_cast<std::size_t>(num_ranks)) {}

MpiPeers::~MpiPeers() = default;

std::unique_ptr<ByteStream> MpiPeers::open(std::string_view name, int peer, bool /*opens*/) {
  return std::make_unique<MpiStream>(*this, fnv1a(name), peer);
}

void MpiPeers::sleep(std::chrono::nanoseconds time) { std::this_thread::sleep_for(time); }

void MpiPeers::leave() {
  next_hellos_.clear();
  for (MpiBlock& block : under_way_) {
    while (block.is_under_way()) std::this_thread::sleep_for(kLookEvery);
  }
  under_way_.clear();
  world_.finish();
}

int MpiPeers::announce(std::uint64_t name, int peer) {
  const Hello hello{name, ++num_tags_[static_cast<std::size_t>(peer)]};
  MpiBlock block(world_, sizeof hello);
  std::memcpy(block.room().data(), &hello, sizeof hello);
  block.send(sizeof hello, peer, kTagOfHellos);
  see_off(std::move(block));
  return static_cast<int>(hello.tag);
}

std::optional<int> MpiPeers::take_tag(std::uint64_t name, int peer) {
  auto& next = next_hellos_[static_cast<std::size_t>(peer)];
  if (!next) {
    next = std::make_unique<MpiBlock>(world_, sizeof(Hello));
    next->receive(peer, kTagOfHellos);
  }
  while (!next->is_under_way() && !next->has_failed()) {
    Hello hello;
    std::memcpy(&hello, next->room().data(), sizeof hello);
    told_.emplace(std::pair(peer, hello.name), static_cast<int>(hello.tag));
    next->receive(peer, kTagOfHellos);
  }
  const auto found = told_.find({peer, name});
  if (found == told_.end()) return std::nullopt;
  const int tag = found->second;
  told_.erase(found);
  return tag;
}

void MpiPeers::see_off(MpiBlock block) {
  std::erase_if(under_way_, [](MpiBlock& other) { return !other.is_under_way(); });
  if (block.is_under_way()) under_way_.push_back(std::move(block));
}

std::unique_ptr<Peers> mpi_peers(int rank, int num_ranks) { return std::make_unique<MpiPeers>(rank, num_ranks); }

}  // namespace orrery::executor
