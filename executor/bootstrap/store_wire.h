// SPDX-License-Identifier: Apache-2.0
// What a store and its clients say to each other: requests and replies, each a header, a key and a value. Private to
// `bootstrap/`.
#pragma once

#include "executor/comm/tcp_socket.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace orrery::executor {

enum class StoreOp : std::int64_t {
  hello,  // the value says who it is; the reply, whether it may stay: no value, or why not
  set,    // puts the value there; the reply is empty
  get,    // the reply comes when somebody has put a value there
  list,   // the reply is all values whose keys begin with the key
  time,   // the reply is a reading of the clock of the store
  leave   // no reply
};

struct StoreMessage {
  StoreOp op = StoreOp::set;
  std::string key;
  std::string value;
};

/// Where something of one process stands: "gone/000003". No key begins with another, and lists are in order.
std::string key_of(std::string_view what, int process);

/// A list of pairs as one value.
std::string to_value(const std::vector<std::pair<std::string, std::string>>& pairs);
/// Throws: BackendError, when it is none.
std::vector<std::pair<std::string, std::string>> pairs_of(const std::string& value);

/// Messages on a socket that does not block.
class StoreConnection {
 public:
  explicit StoreConnection(Descriptor socket) : socket_(std::move(socket)) {}

  void post(const StoreMessage& message);
  /// Sends and receives what can be moved; whether anything was.
  bool move();
  /// The next message that has come whole.
  std::optional<StoreMessage> next();

  /// Nothing will come any more; what was sent before may still be read.
  bool closed() const { return closed_; }
  bool has_unsent() const { return !unsent_.empty(); }
  const Descriptor& socket() const { return socket_; }
  /// No message of more than that is taken.
  void set_limit(std::uint64_t bytes) { limit_ = bytes; }

 private:
  Descriptor socket_;
  std::string unsent_, received_;
  std::uint64_t limit_ = std::uint64_t{1} << 40;
  bool closed_ = false;
};

}  // namespace orrery::executor
