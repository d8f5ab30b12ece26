// SPDX-License-Identifier: Apache-2.0
#include "executor/bootstrap/host_link.h"

#include "base/errors.h"

#include <chrono>

#include <fmt/format.h>

namespace orrery::executor {
namespace {

constexpr auto kBeatEvery = std::chrono::milliseconds(100);
constexpr auto kLookEvery = std::chrono::milliseconds(10);  // a failure does not wait for the next beat
constexpr std::string_view kLastBeat = "last";              // nothing more will be heard of it, in good order

}  // namespace

HostLink::HostLink(const Job& job, Segment& segment)
    : job_(job),
      segment_(segment),
      store_(job.connect()),
      heard_(static_cast<std::size_t>(job.num_processes())),
      thread_([this] { run(); }) {}

HostLink::~HostLink() {
  is_over_ = true;
  thread_.join();
}

void HostLink::run() {
  try {
    while (!is_over_) {
      const bool had_failed = segment_.failure().has_value();
      beat(false);
      const Instant next = now() + kBeatEvery;
      while (now() < next && !is_over_ && segment_.failure().has_value() == had_failed)
        std::this_thread::sleep_for(kLookEvery);
    }
    beat(true);
  } catch (const BackendError& error) {
    // Without the store nobody here can learn of a failure elsewhere.
    fail(0, error.what());
  }
}

void HostLink::beat(bool is_last) {
  store_->set(key_of("state", job_.process()), own_state(is_last));
  const auto states = store_->list("state/");
  const auto gone = store_->list("gone/");
  for (int process = 0; process < job_.num_processes(); ++process) {
    if (process == job_.process()) continue;
    if (const auto state = states.find(key_of("state", process)); state != states.end())
      take_state_of(process, state->second);
    if (gone.contains(key_of("gone", process))) fail(process, "its launcher is gone");
    const Heard& heard = heard_[static_cast<std::size_t>(process)];
    const auto silence = now() - heard.at;
    if (heard.beat != kLastBeat && silence > job_.options().time_out)
      fail(process,
           fmt::format("nothing was heard of it for {:.0f} s", std::chrono::duration<double>(silence).count()));
  }
}

std::string HostLink::own_state(bool is_last) {
  std::vector<std::pair<std::string, std::string>> state = {
      {"beat", is_last ? std::string(kLastBeat) : std::to_string(++num_beats_)}};
  const int first = job_.first_rank();
  for (int rank = first; rank < first + job_.num_local(); ++rank) state.emplace_back("key", segment_.key(rank));
  const auto failure = segment_.failure();
  if (failure && first <= failure->rank && failure->rank < first + job_.num_local()) {
    state.emplace_back("failed rank", std::to_string(failure->rank));
    state.emplace_back("failed key", failure->key);
    state.emplace_back("failure", failure->text);
  }
  return to_value(state);
}

void HostLink::take_state_of(int process, const std::string& state) {
  Heard& heard = heard_[static_cast<std::size_t>(process)];
  int rank = job_.first_rank_of(process), failed_rank = -1;
  for (const auto& [name, value] : pairs_of(state)) {
    if (name == "beat" && value != heard.beat) heard = {value, now()};
    if (name == "key") segment_.set_key(rank++, value);
    if (name == "failed rank") failed_rank = std::stoi(value);
    if (name == "failed key") segment_.set_key(failed_rank, value);
    if (name == "failure") segment_.fail(failed_rank, fmt::format("on {}: {}", job_.name_of_process(process), value));
  }
}

void HostLink::fail(int process, const std::string& why) {
  segment_.fail(job_.first_rank_of(process), fmt::format("on {}: {}", job_.name_of_process(process), why));
}

}  // namespace orrery::executor
