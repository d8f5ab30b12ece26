// SPDX-License-Identifier: Apache-2.0
#include "executor/bootstrap/job.h"

#include "base/errors.h"
#include "executor/comm/clock.h"
#include "executor/comm/host_name.h"

#include <algorithm>
#include <thread>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace orrery::executor {
namespace {

constexpr int kClockReadings = 30;
constexpr auto kLookEvery = std::chrono::milliseconds(10);
constexpr int kTimeOutsOfWriting = 10;  // process 0 writes its files while the others wait

// Of what a member says of itself.
constexpr std::string_view kFact = "fact ", kPathOf = "path of ";

/// " (PATH)", for a message; empty where none is known.
std::string path_in(const std::map<std::string, std::string>& texts, const std::string& name) {
  const auto path = texts.find(name);
  return path == texts.end() ? "" : fmt::format(" ({})", path->second);
}

int share_of(int num_ranks, const JobOptions& options) {
  const int num_processes = options.place.num_processes;
  if (options.carrier == Carrier::mpi && (num_ranks != num_processes || options.num_local > 1))
    throw ConfigError(fmt::format("over MPI: expected one process for each of the {} ranks of the plan, got {}",
                                  num_ranks, num_processes),
                      fmt::format("mpirun -n {}", num_ranks));
  if (options.num_local > 0) return options.num_local;
  if (num_ranks % num_processes != 0)
    throw ConfigError(fmt::format("expected a number of processes that divides the {} ranks of the plan, got {}",
                                  num_ranks, num_processes),
                      "where they start different numbers of ranks, each says its own: --local-ranks N");
  return num_ranks / num_processes;
}

std::vector<int> shares_of(const Job& job) {
  std::vector<int> shares;
  for (int process = 0; process < job.num_processes(); ++process) shares.push_back(job.num_ranks_of(process));
  return shares;
}

}  // namespace

std::string text_of_shares(const Job& job) {
  const std::vector<int> shares = shares_of(job);
  const bool even = std::ranges::count(shares, shares.front()) == std::ssize(shares);
  return fmt::format("{} processes with {} {}{}", shares.size(),
                     even ? std::to_string(shares.front()) : fmt::format("{}", fmt::join(shares, " + ")),
                     even && shares.front() == 1 ? "rank" : "ranks", even ? " each" : "");
}

std::string_view name_of(Carrier carrier) { return carrier == Carrier::tcp ? "tcp" : "mpi"; }

Job::Job(const JobOptions& options, int num_ranks, const JobFacts& facts)
    : options_(options), num_local_(share_of(num_ranks, options)) {
  const JobPlace& place = options_.place;
  if (is_first()) {
    const std::string& host = options_.listen.empty() ? place.rendezvous.host : options_.listen;
    server_ =
        std::make_unique<StoreServer>(listen_at({host, place.rendezvous.port}), options_.token, place.num_processes);
  }
  store_ = connect();
  measure_clock();
  const std::string& host = options_.listen.empty() ? store_->own_host() : options_.listen;
  const int num_listeners = options_.carrier == Carrier::tcp ? num_local_ : 0;
  for (int i = 0; i < num_listeners; ++i) listeners_.push_back(listen_at({host, 0}));
  join(num_ranks, facts);
}

Job::~Job() = default;

std::unique_ptr<StoreClient> Job::connect() const {
  return std::make_unique<StoreClient>(options_.place.rendezvous, options_.token, process(), num_processes(),
                                       options_.time_out);
}

// The reading that came back fastest: it was taken in the middle of its way, give or take half of that.
void Job::measure_clock() {
  std::chrono::nanoseconds fastest = std::chrono::nanoseconds::max();
  for (int i = 0; i < kClockReadings && !is_first(); ++i) {
    const Instant before = now();
    const Instant reading{Instant::duration(store_->time())};
    const Instant after = now();
    if (after - before >= fastest) continue;
    fastest = after - before;
    clock_offset_ = reading - (before + fastest / 2);
    clock_error_ = fastest / 2;
  }
}

void Job::join(int num_ranks, const JobFacts& facts) {
  std::vector<std::pair<std::string, std::string>> member = {{"host", own_host_name()},
                                                             {"ranks", std::to_string(num_local_)},
                                                             {"clock_error", std::to_string(clock_error_.count())}};
  for (const Descriptor& listener : listeners_) {
    HostPort place = own_place(listener);
    // A host that listens everywhere is reached where it meets the store.
    if (place.host == "0.0.0.0" || place.host == "::") place.host = store_->own_host();
    member.emplace_back("place", to_text(place));
  }
  for (const auto& [name, value] : facts) member.emplace_back(fmt::format("{}{}", kFact, name), value);
  store_->set(key_of("member", process()), to_value(member));
  if (!is_first()) {
    if (const std::string verdict = store_->get("verdict"); !verdict.empty()) throw ConfigError(verdict);
    read_members(store_->list("member/"), facts);
    return;
  }
  try {
    read_members(wait_for_all(), facts);
    check_shares(num_ranks);
  } catch (const std::exception&) {
    store_->set("verdict", "process 0 of the job has refused it, and says why");
    throw;
  }
  store_->set("verdict", "");
}

std::map<std::string, std::string> Job::wait_for_all() {
  const Instant deadline = now() + options_.time_out;
  while (true) {
    std::map<std::string, std::string> members = store_->list("member/");
    if (std::ssize(members) == num_processes()) return members;
    if (const auto refused = store_->list("refused"); !refused.empty()) throw ConfigError(refused.begin()->second);
    if (now() > deadline) {
      std::vector<int> missing;
      for (int i = 0; i < num_processes(); ++i) {
        if (!members.contains(key_of("member", i))) missing.push_back(i);
      }
      throw BackendError(fmt::format("of {} processes these did not come to {} within {:g} s: {}", num_processes(),
                                     to_text(options_.place.rendezvous),
                                     std::chrono::duration<double>(options_.time_out).count(),
                                     fmt::join(missing, ", ")));
    }
    std::this_thread::sleep_for(kLookEvery);
  }
}

void Job::read_members(const std::map<std::string, std::string>& members, const JobFacts& facts) {
  std::vector<Problem> problems;
  for (const auto& [key, value] : members) {
    const auto process = static_cast<int>(host_names_.size());
    const std::vector<std::pair<std::string, std::string>> pairs = pairs_of(value);
    const std::map<std::string, std::string> all(pairs.begin(), pairs.end());  // but for places
    for (const auto& [name, text] : pairs) {
      if (name == "host") host_names_.push_back(text);
      if (name == "ranks") first_ranks_.push_back(first_ranks_.back() + std::stoi(text));
      if (name == "place") places_.push_back(host_port_of(text).value());
      if (name == "clock_error")
        largest_clock_error_ = std::max(largest_clock_error_, std::chrono::nanoseconds(std::stoll(text)));
      if (!name.starts_with(kFact)) continue;
      const std::string fact = name.substr(kFact.size());
      if (fact.starts_with(kPathOf)) continue;
      const auto own = facts.find(fact);
      if (own == facts.end() || own->second != text)
        problems.push_back(
            {.message = fmt::format("process {} on {}: expected {} {}{} of process {}, got {}{}", process,
                                    host_names_.back(), fact, own == facts.end() ? "none" : own->second,
                                    path_in(facts, fmt::format("{}{}", kPathOf, fact)), this->process(), text,
                                    path_in(all, fmt::format("{}{}{}", kFact, kPathOf, fact)))});
    }
  }
  if (is_first() && !problems.empty()) throw ConfigError(std::move(problems));
  for (int process = 0; process < num_processes(); ++process) {
    const auto p = static_cast<std::size_t>(process);
    if (host_names_[p] == host_names_[static_cast<std::size_t>(this->process())])
      num_ranks_on_host_ += num_ranks_of(process);
  }
}

void Job::check_shares(int num_ranks) const {
  if (first_ranks_.back() == num_ranks) return;
  throw ConfigError(fmt::format("expected processes that start the {} ranks of the plan, got {}", num_ranks,
                                fmt::join(shares_of(*this), " + ")),
                    "--local-ranks N says how many a process starts");
}

int Job::process_of(int rank) const {
  return static_cast<int>(std::ranges::upper_bound(first_ranks_, rank) - first_ranks_.begin()) - 1;
}

std::string Job::name_of_process(int process) const {
  const int first = first_rank_of(process), last = first_rank_of(process + 1) - 1;
  const std::string ranks = first == last ? fmt::format("rank {}", first) : fmt::format("ranks {} to {}", first, last);
  return fmt::format("{} ({})", host_names_[static_cast<std::size_t>(process)], ranks);
}

TcpSeat Job::seat() const {
  TcpSeat seat;
  seat.places = places_;
  seat.token = options_.token;
  for (int rank = 0; rank < num_ranks(); ++rank) seat.hosts.push_back(process_of(rank));
  return seat;
}

std::vector<std::string> Job::gather(std::vector<std::string> results, const std::function<void()>& look) {
  if (!is_first()) {
    for (std::size_t i = 0; i < results.size(); ++i)
      store_->set(fmt::format("result/{}", first_rank() + static_cast<int>(i)), results[i]);
    store_->set(key_of("handed in", process()), "");
    return {};
  }
  for (int process = 1; process < num_processes(); ++process) wait_for_results_of(process, look);
  for (int rank = num_local_; rank < num_ranks(); ++rank)
    results.push_back(store_->get(fmt::format("result/{}", rank)));
  return results;
}

void Job::wait_for_results_of(int process, const std::function<void()>& look) {
  const Instant deadline = now() + options_.time_out;
  while (store_->list(key_of("handed in", process)).empty()) {
    look();
    if (!store_->list(key_of("gone", process)).empty() || now() > deadline)
      throw BackendError(fmt::format("the results of {} did not come", name_of_process(process)));
    std::this_thread::sleep_for(kLookEvery);
  }
}

void Job::finish() {
  if (is_first()) {
    store_->set("done", "");
  } else {
    store_->get("done", kTimeOutsOfWriting * options_.time_out);
  }
}

}  // namespace orrery::executor
