// SPDX-License-Identifier: Apache-2.0
#include "executor/comm/wait.h"

#include "base/errors.h"

#include <algorithm>
#include <thread>

#include <fmt/format.h>

namespace orrery::executor {
namespace {

constexpr auto kYieldFor = std::chrono::milliseconds(1);    // then sleep: the peer is computing, let it have the core
constexpr auto kLookEvery = std::chrono::milliseconds(20);  // for peers that died without a word
constexpr int kYieldsPerClock = 16;
/// What a launcher takes at most to find a dead rank and to tell the other hosts.
constexpr std::chrono::nanoseconds kTimeOfNews = std::chrono::seconds(2);

std::string seconds_text(std::chrono::nanoseconds time) {
  return fmt::format("{:g} s", std::chrono::duration<double>(time).count());
}

std::string last_key(const Segment& segment, int rank) {
  const std::string key = segment.key(rank);
  return key.empty() ? "it has not begun any op" : fmt::format("its last op was {}", key);
}

[[noreturn]] void give_up(Segment& segment, const WaitPlace& place, const std::string& why) {
  const std::string text =
      fmt::format("{}: rank {} {}; {}", place.what, place.peer, why, last_key(segment, place.peer));
  segment.fail(place.rank, text, place.peer);
  throw BackendError(place.rank, std::string(place.key), text);
}

}  // namespace

Patience::Patience(Segment& segment, const WaitPlace& place)
    : segment_(segment), place_(place), start_(now()), next_look_(start_ + kLookEvery) {}

Patience::Rest Patience::look() {
  throw_if_stopped(segment_, place_);
  if (gone_peer_ >= 0 && gone_peer_ == place_.peer) give_up(segment_, place_, "is gone");
  if (++num_looks_ % kYieldsPerClock != 0) return Rest::give_way;
  const Instant time = now();
  const std::chrono::nanoseconds time_out = segment_.options().time_out;
  if (time - start_ > time_out)
    give_up(segment_, place_, fmt::format("did not come within {}", seconds_text(time_out)));
  if (time > next_look_) {
    // A peer may do its part and then leave, so the caller looks once more before this is an error.
    gone_peer_ = segment_.gone(place_.peer) ? place_.peer : -1;
    next_look_ = time + kLookEvery;
  }
  if (time - start_ <= kYieldFor) return Rest::give_way;
  num_looks_ = kYieldsPerClock - 1;  // from now on, sleep every time
  return Rest::sleep;
}

void throw_if_stopped(Segment& segment, const WaitPlace& place) {
  const auto failure = segment.failure();
  if (!failure) return;
  const BackendError cause(failure->rank, failure->key, failure->text);
  throw BackendError(place.rank, std::string(place.key),
                     fmt::format("{}: stopped by a failure elsewhere: {}", place.what, cause.what()));
}

void throw_lost_peer(Segment& segment, const WaitPlace& place) {
  const Instant deadline = now() + std::min(kTimeOfNews, segment.options().time_out);
  while (now() < deadline) {
    throw_if_stopped(segment, place);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  give_up(segment, place, "is gone");
}

}  // namespace orrery::executor
