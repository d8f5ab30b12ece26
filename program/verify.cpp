// SPDX-License-Identifier: Apache-2.0
#include "program/verify.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>

#include <fmt/format.h>

namespace orrery {
namespace {

constexpr std::size_t kMostProblems = 20;

/// Problems found so far; after kMostProblems no more are written down.
class Problems {
 public:
  template <class... Args>
  void add(fmt::format_string<Args...> text, Args&&... args) {
    if (list_.size() < kMostProblems) list_.push_back(fmt::format(text, std::forward<Args>(args)...));
  }
  bool empty() const { return list_.empty(); }
  std::vector<std::string> take() && { return std::move(list_); }

 private:
  std::vector<std::string> list_;
};

/// Indices in range and dependencies on earlier ops.
void check_structure(const StepProgram& program, const RankClass& c, Problems& problems) {
  const auto rank = c.pipeline_rank;
  if (c.dep_begin.size() != c.ops.size() + 1 || c.use_begin.size() != c.ops.size() + 1) {
    problems.add("pipeline rank {}: lists of dependencies or uses do not cover its {} ops", rank, c.ops.size());
    return;
  }
  for (OpIndex op = 0; op < c.ops.size(); ++op) {
    if (c.ops[op].shape >= program.shapes.size()) {
      problems.add("pipeline rank {}: {} has shape {} of {}", rank, to_string(c.ops[op].key), c.ops[op].shape,
                   program.shapes.size());
    }
    for (const OpIndex dep : c.deps_of(op)) {
      if (dep >= op) problems.add("pipeline rank {}: {} depends on a later op", rank, to_string(c.ops[op].key));
    }
    for (const TensorUse& use : c.uses_of(op)) {
      if (use.tensor() >= c.tensors.size()) {
        problems.add("pipeline rank {}: {} uses a tensor that does not exist", rank, to_string(c.ops[op].key));
      }
    }
  }
}

void check_keys(const RankClass& c, Problems& problems) {
  std::vector<OpKey> keys;
  keys.reserve(c.ops.size());
  for (const Op& op : c.ops) keys.push_back(op.key);
  std::sort(keys.begin(), keys.end());
  for (std::size_t i = 1; i < keys.size(); ++i) {
    if (keys[i] == keys[i - 1]) problems.add("pipeline rank {}: {} twice", c.pipeline_rank, to_string(keys[i]));
  }
}

void check_lifetimes(const RankClass& c, Problems& problems) {
  enum class State : std::uint8_t { unborn, alive, released };
  std::vector<State> states(c.tensors.size(), State::unborn);
  const auto say = [&](OpIndex op, TensorIndex tensor, std::string_view what) {
    problems.add("pipeline rank {}: {} {} {}", c.pipeline_rank, to_string(c.ops[op].key), what,
                 name_of(c.tensors[tensor].role));
  };
  for (OpIndex op = 0; op < c.ops.size(); ++op) {
    for (const TensorUse& use : c.uses_of(op)) {
      State& state = states[use.tensor()];
      if (use.access() == Access::create) {
        if (state != State::unborn) say(op, use.tensor(), "creates again");
        state = State::alive;
      } else if (state != State::alive) {
        say(op, use.tensor(), state == State::unborn ? "uses before it exists" : "uses after its release");
      }
      if (use.releases()) state = State::released;
    }
  }
  for (TensorIndex tensor = 0; tensor < states.size(); ++tensor) {
    if (states[tensor] == State::released) continue;
    problems.add("pipeline rank {}: {} of layer {}, micro-batch {} is never released", c.pipeline_rank,
                 name_of(c.tensors[tensor].role), c.tensors[tensor].layer, c.tensors[tensor].micro_batch);
  }
}

/// Queue that a message on `queue` arrives on (or comes from) at the other pipeline rank.
std::optional<Queue> opposite(Queue queue) {
  constexpr std::pair<Queue, Queue> kEnds[] = {{Queue::pp_send_next, Queue::pp_recv_prev},
                                               {Queue::pp_send_prev, Queue::pp_recv_next},
                                               {Queue::pp_send_prev_act, Queue::pp_recv_next_act},
                                               {Queue::pp_send_next_grad, Queue::pp_recv_prev_grad}};
  for (const auto& [sends, receives] : kEnds) {
    if (queue == sends) return receives;
    if (queue == receives) return sends;
  }
  return std::nullopt;
}

/// Runs one replica (a rank per class) in zero time: each queue of each rank goes on as far as dependencies and
/// partners allow. What is left over is a deadlock; what meets with different shapes is an error.
class DryRun {
 public:
  DryRun(const StepProgram& program, Problems& problems) : program_(program), problems_(problems) {
    for (const RankClass& c : program.classes) {
      State& state = states_.emplace_back();
      state.done.assign(c.ops.size(), false);
      for (OpIndex op = 0; op < c.ops.size(); ++op) state.queues[index(c.ops[op].queue)].push_back(op);
    }
  }

  void run() {
    bool progress = true;
    while (progress) {
      progress = false;
      for (std::size_t rank = 0; rank < states_.size(); ++rank) {
        for (int queue = 0; queue < kNumQueues; ++queue) {
          while (step(rank, static_cast<Queue>(queue))) progress = true;
        }
      }
    }
    for (std::size_t rank = 0; rank < states_.size(); ++rank) report_left(rank);
  }

 private:
  struct State {
    std::array<std::vector<OpIndex>, kNumQueues> queues;  // ops of each queue, in order
    std::array<std::size_t, kNumQueues> next{};           // position in each queue
    std::vector<bool> done;
  };
  static std::size_t index(Queue queue) { return static_cast<std::size_t>(queue); }

  /// The op at the head of a queue if its dependencies are done.
  std::optional<OpIndex> head(std::size_t rank, Queue queue) const {
    const State& state = states_[rank];
    const auto& ops = state.queues[index(queue)];
    if (state.next[index(queue)] == ops.size()) return std::nullopt;
    const OpIndex op = ops[state.next[index(queue)]];
    for (const OpIndex dep : program_.classes[rank].deps_of(op)) {
      if (!state.done[dep]) return std::nullopt;
    }
    return op;
  }
  void finish(std::size_t rank, Queue queue, OpIndex op) {
    states_[rank].done[op] = true;
    ++states_[rank].next[index(queue)];
  }

  bool step(std::size_t rank, Queue queue) {
    const std::optional<OpIndex> op = head(rank, queue);
    if (!op) return false;
    if (queue == Queue::world) return step_world(*op);
    if (const std::optional<Queue> other_queue = opposite(queue)) return step_message(rank, queue, *op, *other_queue);
    finish(rank, queue, *op);  // members of the other groups share this class, and so this order
    return true;
  }

  bool step_message(std::size_t rank, Queue queue, OpIndex op, Queue other_queue) {
    const std::size_t num_ranks = states_.size();
    const bool to_next = queue == Queue::pp_send_next || queue == Queue::pp_recv_next ||
                         queue == Queue::pp_send_next_grad || queue == Queue::pp_recv_next_act;
    const std::size_t other = (rank + (to_next ? 1 : num_ranks - 1)) % num_ranks;
    const std::optional<OpIndex> other_op = head(other, other_queue);
    if (!other_op) return false;
    const auto* mine = std::get_if<PeerShape>(&shape(rank, op));
    const auto* theirs = std::get_if<PeerShape>(&shape(other, *other_op));
    const OpKey &key = program_.classes[rank].ops[op].key, &other_key = program_.classes[other].ops[*other_op].key;
    if (!mine || !theirs || mine->send == theirs->send || mine->bytes != theirs->bytes) {
      problems_.add("pipeline rank {}: {} meets {} of pipeline rank {}, which is not its other end", rank,
                    to_string(key), to_string(other_key), other);
    } else if (key.micro_batch != other_key.micro_batch) {
      problems_.add("pipeline rank {}: {} meets {} of pipeline rank {}: the order differs", rank, to_string(key),
                    to_string(other_key), other);
    }
    finish(rank, queue, op);
    finish(other, other_queue, *other_op);
    return true;
  }

  bool step_world(OpIndex first) {
    std::vector<OpIndex> ops;
    for (std::size_t rank = 0; rank < states_.size(); ++rank) {
      const std::optional<OpIndex> op = head(rank, Queue::world);
      if (!op) return false;
      ops.push_back(*op);
    }
    for (std::size_t rank = 0; rank < states_.size(); ++rank) {
      if (shape(rank, ops[rank]) != shape(0, ops[0])) {
        problems_.add("pipeline rank {}: {} has another shape than on pipeline rank 0", rank,
                      to_string(program_.classes[rank].ops[first].key));
      }
      finish(rank, Queue::world, ops[rank]);
    }
    return true;
  }

  void report_left(std::size_t rank) {
    for (int queue = 0; queue < kNumQueues; ++queue) {
      const auto& ops = states_[rank].queues[static_cast<std::size_t>(queue)];
      const std::size_t next = states_[rank].next[static_cast<std::size_t>(queue)];
      if (next == ops.size()) continue;
      problems_.add("pipeline rank {}: {} never runs, and {} ops behind it", rank,
                    to_string(program_.classes[rank].ops[ops[next]].key), ops.size() - next - 1);
    }
  }

  const OpShape& shape(std::size_t rank, OpIndex op) const {
    return program_.shapes[program_.classes[rank].ops[op].shape];
  }

  const StepProgram& program_;
  Problems& problems_;
  std::vector<State> states_;
};

}  // namespace

std::vector<std::string> verify(const StepProgram& program) {
  Problems problems;
  for (const RankClass& c : program.classes) check_structure(program, c, problems);
  if (!problems.empty()) return std::move(problems).take();
  for (const RankClass& c : program.classes) {
    check_keys(c, problems);
    check_lifetimes(c, problems);
  }
  DryRun(program, problems).run();
  return std::move(problems).take();
}

}  // namespace orrery
