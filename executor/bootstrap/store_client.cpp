// SPDX-License-Identifier: Apache-2.0
#include "executor/bootstrap/store_client.h"

#include "base/errors.h"
#include "executor/bootstrap/store_server.h"
#include "executor/comm/clock.h"

#include <thread>

#include <fmt/format.h>
#include <poll.h>

namespace orrery::executor {
namespace {

constexpr auto kRetryEvery = std::chrono::milliseconds(50);
constexpr int kLookEveryMilliseconds = 50;

double seconds_of(std::chrono::nanoseconds time) { return std::chrono::duration<double>(time).count(); }

void wait_for(const Descriptor& socket, short events) {
  pollfd waiting{.fd = socket.number(), .events = events, .revents = 0};
  ::poll(&waiting, 1, kLookEveryMilliseconds);
}

/// A connection that is through, or none: nobody listens there yet.
std::optional<Descriptor> try_to_connect(const HostPort& place, Instant deadline) {
  Descriptor socket = start_connecting(place);
  while (now() < deadline) {
    wait_for(socket, POLLOUT);
    const std::optional<int> outcome = outcome_of_connecting(socket);
    if (outcome == 0) return socket;
    if (outcome) return std::nullopt;
  }
  return std::nullopt;
}

StoreConnection connect_to(const HostPort& place, std::chrono::nanoseconds time_out) {
  const Instant deadline = now() + time_out;
  while (now() < deadline) {
    if (auto socket = try_to_connect(place, deadline)) return StoreConnection(std::move(*socket));
    std::this_thread::sleep_for(kRetryEvery);
  }
  throw BackendError(fmt::format("nobody answers at {} within {:g} s: process 0 of the job waits there", to_text(place),
                                 seconds_of(time_out)));
}

}  // namespace

StoreClient::StoreClient(const HostPort& place, const std::string& token, int process, int num_processes,
                         std::chrono::nanoseconds time_out)
    : place_(place), time_out_(time_out), connection_(connect_to(place, time_out)) {
  const std::string refusal = ask(StoreOp::hello, "", hello_of(token, process, num_processes));
  if (!refusal.empty())
    throw ConfigError(fmt::format("process 0 of the job at {} refuses this process: {}", to_text(place), refusal),
                      "all processes of a job need the same plan, settings, number of processes and token");
}

StoreClient::~StoreClient() {
  if (connection_.closed()) return;
  connection_.post({StoreOp::leave, "", ""});
  connection_.move();
}

std::string StoreClient::ask(StoreOp op, const std::string& key, const std::string& value,
                             std::chrono::nanoseconds time_out) {
  connection_.post({op, key, value});
  Instant deadline = now() + time_out;
  while (true) {
    if (connection_.move()) deadline = now() + time_out;
    if (auto reply = connection_.next()) return std::move(reply->value);
    if (connection_.closed()) throw BackendError(fmt::format("process 0 of the job at {} is gone", to_text(place_)));
    if (now() > deadline)
      throw BackendError(fmt::format("process 0 of the job at {} did not answer within {:g} s{}{}", to_text(place_),
                                     seconds_of(time_out), key.empty() ? "" : ": ", key));
    wait_for(connection_.socket(), connection_.has_unsent() ? POLLIN | POLLOUT : POLLIN);
  }
}

void StoreClient::set(const std::string& key, const std::string& value) { ask(StoreOp::set, key, value); }

std::string StoreClient::get(const std::string& key, std::chrono::nanoseconds time_out) {
  return ask(StoreOp::get, key, "", time_out);
}

std::map<std::string, std::string> StoreClient::list(const std::string& prefix) {
  std::map<std::string, std::string> values;
  for (auto& [key, value] : pairs_of(ask(StoreOp::list, prefix, ""))) values.emplace(key, value);
  return values;
}

std::int64_t StoreClient::time() { return std::stoll(ask(StoreOp::time, "", "")); }

}  // namespace orrery::executor
