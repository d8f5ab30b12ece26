// SPDX-License-Identifier: Apache-2.0
// A training run over several processes that each start a share of its ranks: how they find each other, agree that they
// mean the same run, learn where every rank listens, and bring the results together at process 0.
#pragma once

#include "executor/bootstrap/job_place.h"
#include "executor/bootstrap/store_client.h"
#include "executor/bootstrap/store_server.h"
#include "executor/comm/tcp_peers.h"

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace orrery::executor {

/// What carries bytes between ranks of different processes. Over MPI each process has one rank.
enum class Carrier { tcp, mpi };

class Job;

std::string_view name_of(Carrier carrier);
/// "2 processes with 2 ranks each", "2 processes with 2 + 3 ranks".
std::string text_of_shares(const Job& job);

struct JobOptions {
  JobPlace place;
  Carrier carrier = Carrier::tcp;
  std::string token;   ///< a secret that all processes of the job know and nobody else
  std::string listen;  ///< address to listen at; empty: that of the rendezvous, and of the way there
  std::chrono::nanoseconds time_out = std::chrono::minutes(2);
  int num_local = 0;  ///< ranks that this process starts; 0: as many as every other one
};

/// What a process must share with process 0: "program" -> its hash. Beside it "path of program", which may differ.
using JobFacts = std::map<std::string, std::string>;

class Job {
 public:
  /// Finds the others; returns when all are there. Ranks are in the order of the processes.
  /// Throws: ConfigError, when the processes do not share the ranks, or contradict each other; BackendError, when they
  /// do not come or cannot be reached.
  Job(const JobOptions& options, int num_ranks, const JobFacts& facts);
  ~Job();

  bool is_first() const { return options_.place.process == 0; }
  int process() const { return options_.place.process; }
  int num_processes() const { return options_.place.num_processes; }
  int num_ranks() const { return first_ranks_.back(); }
  int first_rank() const { return first_rank_of(process()); }
  int num_local() const { return num_local_; }
  int first_rank_of(int process) const { return first_ranks_[static_cast<std::size_t>(process)]; }
  int process_of(int rank) const;
  int num_ranks_of(int process) const { return first_rank_of(process + 1) - first_rank_of(process); }
  /// Ranks of all processes with this one's host name: they share its cores.
  int num_ranks_on_host() const { return num_ranks_on_host_; }

  /// Name of the host of a rank.
  const std::string& host_of(int rank) const { return host_names_[static_cast<std::size_t>(process_of(rank))]; }
  /// "NAME (ranks 2 to 3)"
  std::string name_of_process(int process) const;
  const JobOptions& options() const { return options_; }

  /// What a rank of this process needs over TCP, without its listener.
  TcpSeat seat() const;
  /// The listeners of this process's ranks, in their order. Once.
  std::vector<Descriptor> take_listeners() { return std::move(listeners_); }

  /// The clock of the run is that of process 0; by how much its reading is larger, and how far off that may be.
  std::chrono::nanoseconds clock_offset() const { return clock_offset_; }
  std::chrono::nanoseconds clock_error() const { return clock_error_; }
  /// The largest error of all processes.
  std::chrono::nanoseconds largest_clock_error() const { return largest_clock_error_; }

  /// A further connection to the store, for another thread.
  std::unique_ptr<StoreClient> connect() const;

  /// Hands in the results of this process's ranks; at process 0 those of all ranks come out, elsewhere nothing.
  /// `look` is called while process 0 waits, to throw what it has heard of the others.
  /// Throws: BackendError, when they do not come.
  std::vector<std::string> gather(std::vector<std::string> results, const std::function<void()>& look = [] {});
  /// Process 0 says that the run is through; the others wait for that. Throws: BackendError, when it does not come.
  void finish();

 private:
  void measure_clock();
  void join(int num_ranks, const JobFacts& facts);
  std::map<std::string, std::string> wait_for_all();
  void wait_for_results_of(int process, const std::function<void()>& look);
  void read_members(const std::map<std::string, std::string>& members, const JobFacts& facts);
  /// Throws: ConfigError, when the processes together start other ranks than the plan has.
  void check_shares(int num_ranks) const;

  JobOptions options_;
  int num_local_;
  int num_ranks_on_host_ = 0;
  std::unique_ptr<StoreServer> server_;  // of process 0
  std::unique_ptr<StoreClient> store_;   // goes before the server
  std::vector<Descriptor> listeners_;
  std::vector<int> first_ranks_ = {0};   // by process, and the number of all ranks
  std::vector<std::string> host_names_;  // by process
  std::vector<HostPort> places_;         // by rank
  std::chrono::nanoseconds clock_offset_{}, clock_error_{}, largest_clock_error_{};
};

}  // namespace orrery::executor
