// SPDX-License-Identifier: Apache-2.0
#include "executor/comm/shm_wait.h"

#include "base/errors.h"

#include <thread>

#include <fmt/format.h>
#include <sched.h>

namespace orrery::executor {
namespace {

constexpr auto kYieldFor = std::chrono::milliseconds(1);  // then sleep: the peer is computing, let it have the core
constexpr auto kSleepFor = std::chrono::microseconds(20);
constexpr auto kLookEvery = std::chrono::milliseconds(20);  // for peers that died without a word
constexpr int kYieldsPerClock = 16;

std::string seconds_text(std::chrono::nanoseconds time) {
  return fmt::format("{:g} s", std::chrono::duration<double>(time).count());
}

std::string last_key(const Segment& segment, int rank) {
  const std::string key = segment.key(rank);
  return key.empty() ? "it has not begun any op" : fmt::format("its last op was {}", key);
}

}  // namespace

Patience::Patience(Segment& segment, const WaitPlace& place)
    : segment_(segment), place_(place), start_(now()), next_look_(start_ + kLookEvery) {}

void Patience::pause() {
  throw_if_stopped(segment_, place_);
  if (peer_gone_) give_up(fmt::format("rank {} is gone; {}", place_.peer, last_key(segment_, place_.peer)));
  if (++num_yields_ % kYieldsPerClock != 0) {
    ::sched_yield();
    return;
  }
  const Instant time = now();
  if (time - start_ > segment_.options().time_out)
    give_up(fmt::format("rank {} did not come within {}; {}", place_.peer, seconds_text(segment_.options().time_out),
                        last_key(segment_, place_.peer)));
  if (time > next_look_) {
    // A peer may do its part and then leave, so the caller looks once more before this is an error.
    peer_gone_ = segment_.gone(place_.peer);
    next_look_ = time + kLookEvery;
  }
  if (time - start_ > kYieldFor) {
    std::this_thread::sleep_for(kSleepFor);
    num_yields_ = kYieldsPerClock - 1;  // from now on, sleep every time
  }
}

void Patience::give_up(const std::string& why) {
  const std::string text = fmt::format("{}: {}", place_.what, why);
  segment_.fail(place_.rank, text);
  throw BackendError(place_.rank, std::string(place_.key), text);
}

void throw_if_stopped(Segment& segment, const WaitPlace& place) {
  const auto failure = segment.failure();
  if (!failure) return;
  const BackendError cause(failure->rank, failure->key, failure->text);
  throw BackendError(place.rank, std::string(place.key),
                     fmt::format("{}: stopped by a failure elsewhere: {}", place.what, cause.what()));
}

}  // namespace orrery::executor
