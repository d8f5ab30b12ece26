// SPDX-License-Identifier: Apache-2.0
#include "executor/comm/tcp_peers.h"

#include "base/check.h"
#include "base/fnv.h"
#include "base/sha256.h"

#include <algorithm>
#include <utility>

#include <poll.h>

namespace orrery::executor {
namespace {

constexpr std::uint64_t kStreamMagic = 0x4f52524552590101;  // "ORRERY", streams, version 1

}  // namespace

TcpPeers::TcpPeers(TcpSeat seat, int rank) : seat_(std::move(seat)), rank_(rank) {
  CHECK(seat_.places.size() == seat_.hosts.size() && !seat_.token.empty(), seat_.places.size(), seat_.hosts.size());
  std::ranges::copy(sha256_hex(seat_.token), token_hash_.begin());
}

TcpPeers::~TcpPeers() = default;

std::unique_ptr<ByteStream> TcpPeers::open(std::string_view name, int peer, bool opens) {
  if (!opens) return std::make_unique<TcpStream>(*this, StreamName{fnv1a(name), peer, rank_});
  const StreamHello hello{kStreamMagic, token_hash_, {fnv1a(name), rank_, peer}};
  return std::make_unique<TcpStream>(*this, hello, start_connecting(seat_.places[static_cast<std::size_t>(peer)]));
}

std::optional<Descriptor> TcpPeers::take_connection(const StreamName& name) {
  greet_newcomers();
  const auto found = connections_.find(name);
  if (found == connections_.end()) {
    awaits_connection_ = true;
    return std::nullopt;
  }
  Descriptor socket = std::move(found->second);
  connections_.erase(found);
  return socket;
}

void TcpPeers::greet_newcomers() {
  while (auto socket = accept_next(seat_.listener)) newcomers_.push_back({std::move(*socket), {}, 0});
  std::erase_if(newcomers_, [this](Newcomer& newcomer) {
    const auto hello = std::as_writable_bytes(std::span(&newcomer.hello, 1));
    const Moved moved = receive_some(newcomer.socket, hello.subspan(newcomer.num_read));
    newcomer.num_read += moved.bytes;
    if (newcomer.num_read < hello.size()) return moved.error != 0 || moved.ended;
    const bool is_one_of_us = newcomer.hello.magic == kStreamMagic && newcomer.hello.token_hash == token_hash_ &&
                              newcomer.hello.name.to == rank_;
    if (is_one_of_us) connections_.emplace(newcomer.hello.name, std::move(newcomer.socket));
    return true;
  });
}

void TcpPeers::sleep(std::chrono::nanoseconds time) {
  std::vector<pollfd> sockets;
  for (TcpStream* stream : streams_) {
    if (stream->socket_.is_open() && stream->waits_for_ != 0)
      sockets.push_back({.fd = stream->socket_.number(), .events = stream->waits_for_, .revents = 0});
    stream->waits_for_ = 0;  // whoever still waits says so at the next look
  }
  // Else nobody would greet who comes, and a single one would keep this rank awake for ever.
  if (std::exchange(awaits_connection_, false)) {
    sockets.push_back({.fd = seat_.listener.number(), .events = POLLIN, .revents = 0});
    for (const Newcomer& newcomer : newcomers_)
      sockets.push_back({.fd = newcomer.socket.number(), .events = POLLIN, .revents = 0});
  }
  const timespec limit{.tv_sec = 0, .tv_nsec = time.count()};
  ::ppoll(sockets.data(), sockets.size(), &limit, nullptr);
}

}  // namespace orrery::executor
