// SPDX-License-Identifier: Apache-2.0
#include "executor/bootstrap/store_server.h"

#include "base/sha256.h"
#include "executor/comm/clock.h"

#include <algorithm>
#include <chrono>
#include <sstream>
#include <vector>

#include <fmt/format.h>
#include <poll.h>

namespace orrery::executor {
namespace {

constexpr auto kGoodbye = std::chrono::seconds(5);  // for others to leave before the store closes
constexpr std::uint64_t kStrangersLimit = 4096;     // bytes that somebody may send before we know who it is
constexpr int kLookEveryMilliseconds = 20;

}  // namespace

std::string hello_of(const std::string& token, int process, int num_processes) {
  return fmt::format("orrery-store-1 {} {} {}", sha256_hex(token), process, num_processes);
}

StoreServer::StoreServer(Descriptor listener, std::string token, int num_processes)
    : listener_(std::move(listener)), token_(std::move(token)), num_processes_(num_processes) {
  thread_ = std::thread([this] { serve(); });
}

StoreServer::~StoreServer() {
  is_over_ = true;
  thread_.join();
}

void StoreServer::serve() {
  Instant deadline = Instant::max();
  while (!(is_over_ && clients_.empty()) && now() < deadline) {
    if (is_over_ && deadline == Instant::max()) deadline = now() + kGoodbye;
    wait_for_news();
    while (auto socket = accept_next(listener_)) {
      clients_.emplace_back(Client{.connection = StoreConnection(std::move(*socket))});
      clients_.back().connection.set_limit(kStrangersLimit);
    }
    for (auto client = clients_.begin(); client != clients_.end();) {
      StoreConnection& connection = client->connection;
      // Until nothing moves: a connection may end with what was said last.
      while (connection.move()) {
        while (auto request = connection.next()) answer(*client, *request);
      }
      // Whoever waits for a value when the store closes waits in vain.
      const auto is_of_client = [&](const auto& entry) { return entry.second == &*client; };
      const bool is_through =
          (client->leaves && !connection.has_unsent()) || (is_over_ && std::ranges::any_of(waiting_, is_of_client));
      if (!connection.closed() && !is_through) {
        ++client;
        continue;
      }
      if (!client->leaves && client->process >= 0) put(key_of("gone", client->process), "");
      std::erase_if(waiting_, is_of_client);
      client = clients_.erase(client);
    }
  }
}

void StoreServer::wait_for_news() {
  std::vector<pollfd> sockets = {{.fd = listener_.number(), .events = POLLIN, .revents = 0}};
  for (const Client& client : clients_) {
    const short events = client.connection.has_unsent() ? POLLIN | POLLOUT : POLLIN;
    sockets.push_back({.fd = client.connection.socket().number(), .events = events, .revents = 0});
  }
  ::poll(sockets.data(), sockets.size(), kLookEveryMilliseconds);
}

void StoreServer::answer(Client& client, const StoreMessage& request) {
  if (client.process < 0) {
    greet(client, request.op == StoreOp::hello ? request.value : "");
    return;
  }
  switch (request.op) {
    case StoreOp::hello:
      break;
    case StoreOp::set:
      put(request.key, request.value);
      client.connection.post({StoreOp::set, request.key, ""});
      break;
    case StoreOp::get:
      if (const auto found = values_.find(request.key); found != values_.end()) {
        client.connection.post({StoreOp::get, request.key, found->second});
      } else {
        waiting_.emplace(request.key, &client);
      }
      break;
    case StoreOp::list: {
      std::vector<std::pair<std::string, std::string>> pairs;
      for (auto it = values_.lower_bound(request.key); it != values_.end() && it->first.starts_with(request.key); ++it)
        pairs.push_back(*it);
      client.connection.post({StoreOp::list, request.key, to_value(pairs)});
      break;
    }
    case StoreOp::time:
      client.connection.post({StoreOp::time, "", std::to_string(now().time_since_epoch().count())});
      break;
    case StoreOp::leave:
      client.leaves = true;
      break;
  }
}

void StoreServer::greet(Client& client, const std::string& hello) {
  std::istringstream in(hello);
  std::string magic, token_hash;
  int process = -1, num_processes = 0;
  in >> magic >> token_hash >> process >> num_processes;
  std::string refusal;
  if (hello != hello_of(token_, process, num_processes)) {
    refusal = "it has another token";
  } else if (num_processes != num_processes_ || process < 0 || process >= num_processes_) {
    refusal =
        fmt::format("process {} believes in {} processes, process 0 in {}", process, num_processes, num_processes_);
    put("refused", refusal);  // for process 0, which would wait for it in vain
  } else {
    client.process = process;
    client.connection.set_limit(std::uint64_t{1} << 40);
  }
  client.leaves = !refusal.empty();
  client.connection.post({StoreOp::hello, "", refusal});
}

void StoreServer::put(const std::string& key, std::string value) {
  const auto [begin, end] = waiting_.equal_range(key);
  for (auto it = begin; it != end; ++it) it->second->connection.post({StoreOp::get, key, value});
  waiting_.erase(begin, end);
  values_[key] = std::move(value);
}

}  // namespace orrery::executor
