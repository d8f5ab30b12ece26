// SPDX-License-Identifier: Apache-2.0
#include "executor/comm/tcp_socket.h"

#include "base/errors.h"
#include "base/number_text.h"

#include <cerrno>
#include <memory>
#include <system_error>

#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace orrery::executor {
namespace {

using AddressList = std::unique_ptr<addrinfo, void (*)(addrinfo*)>;

AddressList addresses_of(const HostPort& place) {
  const addrinfo hints = {.ai_flags = AI_NUMERICSERV, .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
  addrinfo* found = nullptr;
  const int error = ::getaddrinfo(place.host.c_str(), std::to_string(place.port).c_str(), &hints, &found);
  if (error != 0) throw BackendError(fmt::format("{}: {}", to_text(place), ::gai_strerror(error)));
  return {found, ::freeaddrinfo};
}

[[noreturn]] void throw_system_error(std::string_view what, const HostPort& place) {
  throw BackendError(fmt::format("cannot {} {}: {}", what, to_text(place), std::system_category().message(errno)));
}

Descriptor socket_for(const addrinfo& address) {
  return Descriptor(::socket(address.ai_family, address.ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
}

// Small messages leave at once.
void do_not_delay(const Descriptor& socket) {
  const int on = 1;
  ::setsockopt(socket.number(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

HostPort place_of(const sockaddr_storage& address, socklen_t length) {
  char host[NI_MAXHOST] = {}, port[NI_MAXSERV] = {};
  ::getnameinfo(reinterpret_cast<const sockaddr*>(&address), length, host, sizeof host, port, sizeof port,
                NI_NUMERICHOST | NI_NUMERICSERV);
  return {host, std::atoi(port)};
}

Moved moved_by(ssize_t count, bool receiving) {
  if (count > 0) return {.bytes = static_cast<std::size_t>(count)};
  if (count == 0) return {.ended = receiving};
  if (errno == EAGAIN || errno == EINTR || errno == ENOTCONN) return {.must_wait = true};
  return {.error = errno};
}

}  // namespace

std::optional<HostPort> host_port_of(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string_view host = text.substr(0, colon);
  const std::string_view digits = text.substr(colon + 1);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  const std::optional<int> port = number_in<int>(digits);
  if (host.empty() || !port || *port <= 0 || *port >= 65536) return std::nullopt;
  return HostPort{std::string(host), *port};
}

std::string to_text(const HostPort& place) {
  if (place.host.find(':') != std::string::npos) return fmt::format("[{}]:{}", place.host, place.port);  // IPv6
  return fmt::format("{}:{}", place.host, place.port);
}

Descriptor listen_at(const HostPort& place) {
  const AddressList addresses = addresses_of(place);
  Descriptor socket = socket_for(*addresses);
  const int on = 1;
  ::setsockopt(socket.number(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(socket.number(), addresses->ai_addr, addresses->ai_addrlen) != 0 ||
      ::listen(socket.number(), SOMAXCONN) != 0)
    throw_system_error("listen at", place);
  return socket;
}

std::optional<Descriptor> accept_next(const Descriptor& listener) {
  Descriptor socket(::accept4(listener.number(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!socket.is_open()) return std::nullopt;
  do_not_delay(socket);
  return socket;
}

Descriptor start_connecting(const HostPort& place) {
  const AddressList addresses = addresses_of(place);
  Descriptor socket = socket_for(*addresses);
  do_not_delay(socket);
  if (::connect(socket.number(), addresses->ai_addr, addresses->ai_addrlen) != 0 && errno != EINPROGRESS)
    throw_system_error("connect to", place);
  return socket;
}

std::optional<int> outcome_of_connecting(const Descriptor& socket) {
  int error = 0;
  socklen_t length = sizeof error;
  ::getsockopt(socket.number(), SOL_SOCKET, SO_ERROR, &error, &length);
  if (error != 0) return error;
  const HostPort other = other_place(socket);
  if (other.port == 0) return std::nullopt;
  // Where nobody listens, a socket may by chance meet itself.
  const HostPort own = own_place(socket);
  return own.host == other.host && own.port == other.port ? ECONNREFUSED : 0;
}

HostPort own_place(const Descriptor& socket) {
  sockaddr_storage address = {};
  socklen_t length = sizeof address;
  ::getsockname(socket.number(), reinterpret_cast<sockaddr*>(&address), &length);
  return place_of(address, length);
}

HostPort other_place(const Descriptor& socket) {
  sockaddr_storage address = {};
  socklen_t length = sizeof address;
  ::getpeername(socket.number(), reinterpret_cast<sockaddr*>(&address), &length);
  return place_of(address, length);
}

Moved send_some(const Descriptor& socket, std::span<const std::byte> bytes, bool more) {
  return moved_by(::send(socket.number(), bytes.data(), bytes.size(), MSG_NOSIGNAL | (more ? MSG_MORE : 0)), false);
}

Moved receive_some(const Descriptor& socket, std::span<std::byte> bytes) {
  return moved_by(::recv(socket.number(), bytes.data(), bytes.size(), 0), true);
}

}  // namespace orrery::executor
