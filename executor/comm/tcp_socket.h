// SPDX-License-Identifier: Apache-2.0
// Sockets that never block: each call moves what it can. IPv4 and IPv6; addresses are text, "10.0.0.1:4711" or
// "[fe80::1]:4711". Private to the executor.
#pragma once

#include "executor/comm/descriptor.h"

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace orrery::executor {

/// A host, by name or number, and a port of it.
struct HostPort {
  std::string host;
  int port = 0;
};

/// Reads "HOST:PORT" or "[HOST]:PORT"; nothing when it is neither.
std::optional<HostPort> host_port_of(std::string_view text);
std::string to_text(const HostPort& place);

/// A socket that takes connections to `place`; port 0: any free one. Throws: BackendError.
Descriptor listen_at(const HostPort& place);

/// A connection that is waiting there; none when nobody is.
std::optional<Descriptor> accept_next(const Descriptor& listener);

/// Begins to connect; the first bytes wait until that is through. Throws: BackendError, when the name of the host
/// stands for nothing.
Descriptor start_connecting(const HostPort& place);

/// How that went: nothing while it goes on, then 0 or the error of the system.
std::optional<int> outcome_of_connecting(const Descriptor& socket);

/// The addresses of the two ends. Requires: bound, or connected.
HostPort own_place(const Descriptor& socket);
HostPort other_place(const Descriptor& socket);

/// What one call on a socket did.
struct Moved {
  std::size_t bytes = 0;
  bool must_wait = false;  ///< no room, or nothing there, or not connected yet
  int error = 0;           ///< of the system: the connection is of no more use
  bool ended = false;      ///< the other side has closed it
};

/// `more` says that more bytes follow at once, so that small pieces share a packet.
Moved send_some(const Descriptor& socket, std::span<const std::byte> bytes, bool more = false);
Moved receive_some(const Descriptor& socket, std::span<std::byte> bytes);

}  // namespace orrery::executor
