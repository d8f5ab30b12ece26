// SPDX-License-Identifier: Apache-2.0
// The store of a job: keys and values that its processes share while they find each other and while they run. Process 0
// serves it in a thread of its own. Whoever connects proves with the job's token that it belongs to the job and says
// how many processes it believes in; anybody else is sent away with a sentence. When a process is gone without having
// left, the store says so under the key of "gone".
#pragma once

#include "executor/bootstrap/store_wire.h"

#include <atomic>
#include <list>
#include <map>
#include <string>
#include <thread>

namespace orrery::executor {

/// The texts of a hello, as both sides build it.
std::string hello_of(const std::string& token, int process, int num_processes);

class StoreServer {
 public:
  /// Serves until it is destroyed.
  StoreServer(Descriptor listener, std::string token, int num_processes);
  StoreServer(const StoreServer&) = delete;
  StoreServer& operator=(const StoreServer&) = delete;
  /// Waits a little for the others to leave first.
  ~StoreServer();

 private:
  struct Client {
    StoreConnection connection;
    int process = -1;  // until it has said hello
    bool leaves = false;
  };

  void serve();
  void wait_for_news();
  void answer(Client& client, const StoreMessage& request);
  void greet(Client& client, const std::string& hello);
  void put(const std::string& key, std::string value);

  Descriptor listener_;
  std::string token_;
  int num_processes_;
  std::list<Client> clients_;
  std::map<std::string, std::string> values_;
  std::multimap<std::string, Client*> waiting_;  // for a key
  std::atomic<bool> is_over_ = false;
  std::thread thread_;  // the last one: it uses the others
};

}  // namespace orrery::executor
