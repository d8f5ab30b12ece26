// SPDX-License-Identifier: Apache-2.0
#include "executor/comm/tcp_stream.h"

#include "executor/comm/tcp_peers.h"

#include <poll.h>

namespace orrery::executor {

TcpStream::TcpStream(TcpPeers& peers, const StreamHello& hello, Descriptor socket)
    : peers_(peers), hello_(hello), connects_(true), socket_(std::move(socket)) {
  peers_.streams_.push_back(this);
}

TcpStream::TcpStream(TcpPeers& peers, const StreamName& name) : peers_(peers), hello_{.name = name}, connects_(false) {
  peers_.streams_.push_back(this);
}

TcpStream::~TcpStream() { std::erase(peers_.streams_, this); }

bool TcpStream::is_ready() {
  if (closed_) return false;
  if (!connects_ && !socket_.is_open()) {
    if (auto socket = peers_.take_connection(hello_.name)) socket_ = std::move(*socket);
    return socket_.is_open();
  }
  const auto hello = std::as_bytes(std::span(&hello_, 1));
  while (connects_ && num_said_ < hello.size()) {
    const Moved moved = send_some(socket_, hello.subspan(num_said_), /*more=*/true);
    if (moved.error != 0) closed_ = true;
    if (moved.must_wait) waits_for_ |= POLLOUT;
    if (moved.bytes == 0) return false;
    num_said_ += moved.bytes;
  }
  return true;
}

std::size_t TcpStream::write(std::span<const std::byte> bytes, bool more) {
  if (!is_ready()) return 0;
  std::size_t done = 0;
  while (done < bytes.size()) {
    const Moved moved = send_some(socket_, bytes.subspan(done), more);
    if (moved.error != 0) closed_ = true;
    if (moved.must_wait) waits_for_ |= POLLOUT;
    if (moved.bytes == 0) break;
    done += moved.bytes;
  }
  peers_.num_moved_ += done;
  return done;
}

std::size_t TcpStream::read(std::span<std::byte> bytes) {
  if (!is_ready() && !socket_.is_open()) return 0;
  std::size_t done = 0;
  while (done < bytes.size()) {
    const Moved moved = receive_some(socket_, bytes.subspan(done));
    if (moved.error != 0 || moved.ended) closed_ = true;
    if (moved.must_wait) waits_for_ |= POLLIN;
    if (moved.bytes == 0) break;
    done += moved.bytes;
  }
  peers_.num_moved_ += done;
  return done;
}

}  // namespace orrery::executor
