// SPDX-License-Identifier: Apache-2.0
#include "traces/critical_path.h"

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>

namespace orrery {
namespace {

/// Spans of one rank in the order of their ends. The walk only ever goes down in it, so that ops without duration
/// cannot make it run in circles.
struct RankOrder {
  std::vector<std::size_t> spans;
  std::size_t num_left = 0;  // spans that the walk may still visit
};

class Walk {
 public:
  Walk(const Spans& spans, std::int32_t step) : spans_(spans) {
    for (std::size_t i = 0; i < spans.size(); ++i) {
      if (spans.step()[i] != step) continue;
      orders_[spans.rank()[i]].spans.push_back(i);
      by_name_.push_back(i);
    }
    std::sort(by_name_.begin(), by_name_.end(), [&](std::size_t a, std::size_t b) { return name(a) < name(b); });
    for (auto& [rank, order] : orders_) {
      std::sort(order.spans.begin(), order.spans.end(), [&](std::size_t a, std::size_t b) { return before(a, b); });
      order.num_left = order.spans.size();
    }
  }

  CriticalPath run() {
    CriticalPath path;
    std::optional<std::size_t> current = last_of_step();
    double until = current ? spans_.end()[*current] : 0.0;  // what is behind this time is explained
    while (current) {
      const std::size_t op = *current;
      CriticalPath::Part part{.span = op, .work = seconds(until - std::min(until, spans_.start()[op]))};
      until = std::min(until, spans_.start()[op]);
      std::size_t waiting = op;
      if (const auto peer = awaited_peer(op)) waiting = *peer;
      const double ready = std::min(until, spans_.ready()[waiting]);
      // The peer's own readiness explains the start of both; what is left is waiting for somebody without spans.
      part.peer_wait = seconds(until - ready);
      current = latest_end_until(spans_.rank()[waiting], ready, waiting);
      const double reached = current ? std::min(ready, spans_.end()[*current]) : 0.0;
      part.gap = seconds(ready - reached);
      until = reached;
      path.parts.push_back(part);
    }
    std::reverse(path.parts.begin(), path.parts.end());
    for (const CriticalPath::Part& part : path.parts) {
      path.work += part.work;
      path.peer_wait += part.peer_wait;
      path.gap += part.gap;
    }
    return path;
  }

 private:
  using Name = std::pair<std::int32_t, OpKey>;
  Name name(std::size_t i) const { return {spans_.rank()[i], shared_key(spans_.key()[i])}; }

  bool before(std::size_t a, std::size_t b) const {
    return std::tuple(spans_.end()[a], spans_.start()[a], a) < std::tuple(spans_.end()[b], spans_.start()[b], b);
  }

  std::optional<std::size_t> last_of_step() const {
    std::optional<std::size_t> last;
    for (const auto& [rank, order] : orders_) {
      if (!last || before(*last, order.spans.back())) last = order.spans.back();
    }
    return last;
  }

  /// The span of the peer that came last to the communication `op`, if it came later and has spans here.
  std::optional<std::size_t> awaited_peer(std::size_t op) const {
    if (spans_.start()[op] <= spans_.ready()[op]) return std::nullopt;
    const Name peer(spans_.last_peer()[op], shared_key(spans_.key()[op]));
    const auto found = std::lower_bound(by_name_.begin(), by_name_.end(), peer,
                                        [&](std::size_t i, const Name& searched) { return name(i) < searched; });
    if (found == by_name_.end() || name(*found) != peer) return std::nullopt;
    return *found;
  }

  /// The span of `rank` that ended last until `time` and lies below `below` in the order; the walk goes on below it.
  std::optional<std::size_t> latest_end_until(std::int32_t rank, double time, std::size_t below) {
    RankOrder& order = orders_.at(rank);
    const auto limit = order.spans.begin() + static_cast<std::ptrdiff_t>(order.num_left);
    const auto end = std::min(std::upper_bound(order.spans.begin(), limit, time,
                                               [&](double t, std::size_t i) { return t < spans_.end()[i]; }),
                              std::lower_bound(order.spans.begin(), limit, below,
                                               [&](std::size_t a, std::size_t b) { return before(a, b); }));
    order.num_left = static_cast<std::size_t>(end - order.spans.begin());
    if (order.num_left == 0) return std::nullopt;
    --order.num_left;
    return order.spans[order.num_left];
  }

  const Spans& spans_;
  std::map<std::int32_t, RankOrder> orders_;
  std::vector<std::size_t> by_name_;
};

}  // namespace

OpKey shared_key(OpKey key) {
  const auto sent_by = [&](OpCode op, int stages) {
    key.op = op;
    key.stage = static_cast<std::int16_t>(key.stage + stages);
  };
  if (key.op == OpCode::pp_recv_act) sent_by(OpCode::pp_send_act, -1);
  if (key.op == OpCode::pp_recv_grad) sent_by(OpCode::pp_send_grad, 1);
  if (key.op == OpCode::norm_reduce) key.stage = 0;
  return key;
}

CriticalPath critical_path(const Trace& trace, std::int32_t step) { return Walk(trace.spans, step).run(); }

}  // namespace orrery
