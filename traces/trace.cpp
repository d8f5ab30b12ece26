// SPDX-License-Identifier: Apache-2.0
#include "traces/trace.h"

namespace orrery {

void Spans::reserve(std::size_t n) {
  step_.reserve(n);
  rank_.reserve(n);
  key_.reserve(n);
  queue_.reserve(n);
  ready_.reserve(n);
  start_.reserve(n);
  end_.reserve(n);
  last_peer_.reserve(n);
  bytes_.reserve(n);
}

void Spans::push_back(const Span& span) {
  step_.push_back(span.step);
  rank_.push_back(span.rank);
  key_.push_back(span.key);
  queue_.push_back(span.queue);
  ready_.push_back(span.ready.in(unit::second));
  start_.push_back(span.start.in(unit::second));
  end_.push_back(span.end.in(unit::second));
  last_peer_.push_back(span.last_peer);
  bytes_.push_back(span.bytes.in(unit::byte));
}

Span Spans::at(std::size_t i) const {
  return {.step = step_.at(i),
          .rank = rank_.at(i),
          .key = key_.at(i),
          .queue = queue_.at(i),
          .ready = seconds(ready_.at(i)),
          .start = seconds(start_.at(i)),
          .end = seconds(end_.at(i)),
          .last_peer = last_peer_.at(i),
          .bytes = bytes_.at(i) * unit::byte};
}

Bytes MemoryRecord::of_tensors() const {
  Bytes sum;
  for (const auto& [role, size] : tensors) sum += size;
  return sum;
}

}  // namespace orrery
