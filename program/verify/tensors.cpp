// SPDX-License-Identifier: Apache-2.0
#include "program/verify/checks.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>

#include <fmt/format.h>

namespace orrery::verify_checks {
namespace {

/// Which ops of a rank are sure to have ended when another starts: its dependencies, those of the ops before it on its
/// queue, and so on. As ops of a queue end in order, the latest op of each queue says it all.
class HappensBefore {
 public:
  explicit HappensBefore(const RankClass& c) : c_(c) {
    for (const Op& op : c.ops) {
      int& row = row_of_queue_[static_cast<std::size_t>(op.queue)];
      if (row < 0) row = num_queues_++;
    }
    ended_.resize(c.ops.size() * static_cast<std::size_t>(num_queues_));
    std::array<std::optional<OpIndex>, kNumQueues> last;
    for (OpIndex op = 0; op < c.ops.size(); ++op) {
      std::optional<OpIndex>& previous = last[static_cast<std::size_t>(c.ops[op].queue)];
      if (previous) join(op, *previous);
      for (const OpIndex dep : c.deps_of(op)) join(op, dep);
      *entry(op, c.ops[op].queue) = op + 1;
      previous = op;
    }
  }

  /// Whether `before` has ended when `op` starts. Requires: before < op.
  bool operator()(OpIndex before, OpIndex op) const {
    const Queue queue = c_.ops[before].queue;
    return queue == c_.ops[op].queue || *entry(op, queue) > before;
  }

 private:
  void join(OpIndex op, OpIndex before) {
    std::uint32_t* to = &ended_[op * static_cast<std::size_t>(num_queues_)];
    const std::uint32_t* from = &ended_[before * static_cast<std::size_t>(num_queues_)];
    for (int i = 0; i < num_queues_; ++i) to[i] = std::max(to[i], from[i]);
  }
  std::uint32_t* entry(OpIndex op, Queue queue) { return &ended_[index(op, queue)]; }
  const std::uint32_t* entry(OpIndex op, Queue queue) const { return &ended_[index(op, queue)]; }
  std::size_t index(OpIndex op, Queue queue) const {
    return op * static_cast<std::size_t>(num_queues_) +
           static_cast<std::size_t>(row_of_queue_[static_cast<std::size_t>(queue)]);
  }

  static constexpr std::array<int, kNumQueues> none() {
    std::array<int, kNumQueues> rows{};
    rows.fill(-1);
    return rows;
  }

  const RankClass& c_;
  std::array<int, kNumQueues> row_of_queue_ = none();
  int num_queues_ = 0;
  std::vector<std::uint32_t> ended_;  // by op and queue that is in use: the latest op that has ended, plus 1
};

class TensorChecker {
 public:
  TensorChecker(const RankClass& c, Problems& problems)
      : c_(c), problems_(problems), happens_before_(c), tensors_(c.tensors.size()) {}

  void run() {
    for (OpIndex op = 0; op < c_.ops.size(); ++op) {
      for (const TensorUse& use : c_.uses_of(op)) check(op, use);
    }
    for (TensorIndex tensor = 0; tensor < tensors_.size(); ++tensor) {
      if (tensors_[tensor].state == State::released) continue;
      problems_.add(rank(),
                    fmt::format("{} of layer {}, micro-batch {} is never released", name_of(c_.tensors[tensor].role),
                                c_.tensors[tensor].layer, c_.tensors[tensor].micro_batch));
    }
  }

 private:
  enum class State : std::uint8_t { unborn, alive, released };
  struct Life {
    State state = State::unborn;
    bool has_others = false;  // uses that did not wait for each other
    OpIndex writer = 0;       // created or changed it last
    OpIndex last = 0;         // used it last, after all but the others
  };

  std::size_t rank() const { return static_cast<std::size_t>(c_.pipeline_rank); }

  void check(OpIndex op, const TensorUse& use) {
    Life& life = tensors_[use.tensor()];
    if (use.access() == Access::create) {
      if (life.state != State::unborn) say(op, use, "creates again");
      life = {.state = State::alive, .writer = op, .last = op};
    } else if (life.state != State::alive) {
      say(op, use, life.state == State::unborn ? "uses before it exists" : "uses after its release");
    } else {
      wait_for(op, use, "uses", life.writer);
      if (use.access() == Access::modify) wait_for_all(op, use, "changes", life);
      if (use.releases()) wait_for_all(op, use, "releases", life);
      if (life.last != op && !happens_before_(life.last, op)) {
        life.has_others = true;
        others_.emplace(use.tensor(), life.last);
      }
      if (use.access() == Access::modify) life.writer = op;
      life.last = op;
    }
    if (use.releases()) life.state = State::released;
  }

  void wait_for_all(OpIndex op, const TensorUse& use, std::string_view what, const Life& life) {
    wait_for(op, use, what, life.last);
    if (!life.has_others) return;
    const auto [begin, end] = others_.equal_range(use.tensor());
    for (auto other = begin; other != end; ++other) wait_for(op, use, what, other->second);
  }

  void wait_for(OpIndex op, const TensorUse& use, std::string_view what, OpIndex other) {
    if (other == op || happens_before_(other, op)) return;
    problems_.add(rank(), fmt::format("{} {} {} without waiting for {}", to_string(c_.ops[op].key), what,
                                      name_of(c_.tensors[use.tensor()].role), to_string(c_.ops[other].key)));
  }

  void say(OpIndex op, const TensorUse& use, std::string_view what) {
    problems_.add(rank(),
                  fmt::format("{} {} {}", to_string(c_.ops[op].key), what, name_of(c_.tensors[use.tensor()].role)));
  }

  const RankClass& c_;
  Problems& problems_;
  const HappensBefore happens_before_;
  std::vector<Life> tensors_;
  std::multimap<TensorIndex, OpIndex> others_;
};

}  // namespace

void check_tensors(const RankClass& rank_class, Problems& problems) { TensorChecker(rank_class, problems).run(); }

}  // namespace orrery::verify_checks
