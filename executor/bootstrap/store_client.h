// SPDX-License-Identifier: Apache-2.0
// One process's connection to the store of its job. Calls wait for their reply, with a time-out; used by one thread.
#pragma once

#include "executor/bootstrap/store_wire.h"

#include <chrono>
#include <map>
#include <string>

namespace orrery::executor {

class StoreClient {
 public:
  /// Connects, again and again while nobody listens there, and says hello.
  /// Throws: BackendError, when nobody answers within `time_out`; ConfigError, when the store refuses this process.
  StoreClient(const HostPort& place, const std::string& token, int process, int num_processes,
              std::chrono::nanoseconds time_out);
  StoreClient(const StoreClient&) = delete;
  StoreClient& operator=(const StoreClient&) = delete;
  /// Leaves in good order, unless the connection is broken.
  ~StoreClient();

  /// All throw BackendError when the store is gone, or silent for a time-out.
  void set(const std::string& key, const std::string& value);
  /// Waits until somebody has set `key`, at most for a time-out: the one of the client, or another.
  std::string get(const std::string& key) { return get(key, time_out_); }
  std::string get(const std::string& key, std::chrono::nanoseconds time_out);
  std::map<std::string, std::string> list(const std::string& prefix);
  /// What the clock of the store shows now, in its ticks.
  std::int64_t time();

  /// The address by which the others can reach this host: that of the way to the store.
  std::string own_host() const { return own_place(connection_.socket()).host; }

 private:
  std::string ask(StoreOp op, const std::string& key, const std::string& value) {
    return ask(op, key, value, time_out_);
  }
  std::string ask(StoreOp op, const std::string& key, const std::string& value, std::chrono::nanoseconds time_out);

  HostPort place_;
  std::chrono::nanoseconds time_out_;
  StoreConnection connection_;
};

}  // namespace orrery::executor
