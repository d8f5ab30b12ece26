// SPDX-License-Identifier: Apache-2.0
// The processes of a job as threads of the test.
#pragma once

#include "executor/bootstrap/job.h"

#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace orrery::executor::testing {

inline JobOptions options_of(int process, int num_processes, const HostPort& rendezvous,
                             std::chrono::nanoseconds time_out = std::chrono::seconds(30)) {
  return {.place = {.process = process, .num_processes = num_processes, .rendezvous = rendezvous, .source = "test"},
          .token = "secret of the test",
          .listen = "",
          .time_out = time_out};
}

/// A port where nobody listens just now.
inline HostPort free_place() { return own_place(listen_at({"127.0.0.1", 0})); }

/// Runs `body(process)` for each process in a thread of its own; what each one died of, empty for those that did not.
inline std::vector<std::string> errors_of_processes(int num_processes, const std::function<void(int)>& body) {
  std::vector<std::string> errors(static_cast<std::size_t>(num_processes));
  std::vector<std::thread> threads;
  for (int process = 0; process < num_processes; ++process) {
    threads.emplace_back([&, process] {
      try {
        body(process);
      } catch (const std::exception& error) {
        errors[static_cast<std::size_t>(process)] = error.what();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return errors;
}

/// What the store sees when `process` dies: a connection that breaks off without having left.
inline void die_as(const JobOptions& job, int process) {
  StoreConnection dying(start_connecting(job.place.rendezvous));
  dying.post({StoreOp::hello, "", hello_of(job.token, process, job.place.num_processes)});
  while (!dying.next()) dying.move();
}

}  // namespace orrery::executor::testing
