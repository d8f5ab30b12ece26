// SPDX-License-Identifier: Apache-2.0
#include "program/verify/checks.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <utility>

#include <fmt/format.h>

namespace orrery::verify_checks {
namespace {

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

/// Whether `send` makes what `receive` expects: the same boundary of the same micro-batch.
bool is_same_message(const OpKey& send, const OpKey& receive) {
  const int hop = send.op == OpCode::pp_send_grad ? -1 : 1;
  return send.micro_batch == receive.micro_batch && send.stage + hop == receive.stage;
}

/// Whether the two ops are ends of one kind of message.
bool are_ends(const OpKey& send, const OpKey& receive) {
  return (send.op == OpCode::pp_send_act && receive.op == OpCode::pp_recv_act) ||
         (send.op == OpCode::pp_send_grad && receive.op == OpCode::pp_recv_grad);
}

/// Each queue of each rank goes on as far as dependencies and partners allow. What is left over is a deadlock; what
/// meets with different shapes is an error.
class DryRun {
 public:
  DryRun(const StepProgram& program, Problems& problems) : program_(program), problems_(problems) {
    for (const RankClass& c : program.classes) {
      State& state = states_.emplace_back();
      state.done.assign(c.ops.size(), 0);
      for (OpIndex op = 0; op < c.ops.size(); ++op) state.queues[index(c.ops[op].queue)].push_back(op);
      for (int q = 0; q < kNumQueues; ++q) {
        if (!state.queues[static_cast<std::size_t>(q)].empty()) state.in_use.push_back(static_cast<Queue>(q));
      }
    }
  }

  void run() {
    for (bool progress = true; progress;) {
      progress = false;
      for (std::size_t rank = 0; rank < states_.size(); ++rank) {
        while (go_on(rank)) progress = true;
      }
    }
    for (std::size_t rank = 0; rank < states_.size(); ++rank) report_left(rank);
  }

 private:
  struct State {
    std::array<std::vector<OpIndex>, kNumQueues> queues;  // ops of each queue, in order
    std::array<std::size_t, kNumQueues> next{};           // position in each queue
    std::vector<Queue> in_use;
    std::vector<std::uint8_t> done;
  };
  static std::size_t index(Queue queue) { return static_cast<std::size_t>(queue); }

  bool go_on(std::size_t rank) {
    bool progress = false;
    for (const Queue queue : states_[rank].in_use) {
      while (step(rank, queue)) progress = true;
    }
    return progress;
  }

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
    states_[rank].done[op] = 1;
    ++states_[rank].next[index(queue)];
  }

  bool step(std::size_t rank, Queue queue) {
    const std::optional<OpIndex> op = head(rank, queue);
    if (!op) return false;
    if (const std::optional<Queue> other_queue = opposite(queue)) return step_message(rank, queue, *op, *other_queue);
    const auto* collective = std::get_if<CollectiveShape>(&shape(rank, *op));
    // Even without a copy of the embedding, its group is no group of the other pipeline ranks.
    if (collective != nullptr &&
        (collective->group == Group::embedding || program_.mesh.spans_pipeline_ranks(collective->group))) {
      return step_collective(rank, queue, *op, collective->group);
    }
    finish(rank, queue, *op);  // members of the other groups share this class, and so this order
    return true;
  }

  bool step_message(std::size_t rank, Queue queue, OpIndex op, Queue other_queue) {
    const std::size_t num_ranks = states_.size();
    const std::size_t other = (rank + (to_next_rank(queue) ? 1 : num_ranks - 1)) % num_ranks;
    const std::optional<OpIndex> other_op = head(other, other_queue);
    if (!other_op) return false;
    const OpKey &mine = key(rank, op), &theirs = key(other, *other_op);
    const OpKey &send = is_send(queue) ? mine : theirs, &receive = is_send(queue) ? theirs : mine;
    if (!are_ends(send, receive) || bytes_of_message(rank, op) != bytes_of_message(other, *other_op)) {
      problems_.add(rank, fmt::format("{} meets {} of pipeline rank {}, which is not its other end", to_string(mine),
                                      to_string(theirs), other));
    } else if (!is_same_message(send, receive)) {
      problems_.add(rank, fmt::format("{} meets {} of pipeline rank {}: the order differs", to_string(mine),
                                      to_string(theirs), other));
    }
    finish(rank, queue, op);
    finish(other, other_queue, *other_op);
    return true;
  }

  /// A collective of a group with members on several pipeline ranks: all of them must be at one.
  bool step_collective(std::size_t rank, Queue queue, OpIndex op, Group group) {
    const std::vector<std::size_t>& members = members_of(group, rank);
    if (!std::binary_search(members.begin(), members.end(), rank)) {
      problems_.add(rank, fmt::format("{} is of a group without this rank", to_string(key(rank, op))));
      finish(rank, queue, op);
      return true;
    }
    std::vector<OpIndex> ops;
    for (const std::size_t member : members) {
      const std::optional<OpIndex> other = head(member, queue);
      const auto* collective = other ? std::get_if<CollectiveShape>(&shape(member, *other)) : nullptr;
      if (collective == nullptr || collective->group != group) return false;
      ops.push_back(*other);
    }
    for (std::size_t i = 0; i < members.size(); ++i) {
      const OpKey &first = key(members[0], ops[0]), &mine = key(members[i], ops[i]);
      if (first.op != mine.op || first.bucket != mine.bucket) {
        problems_.add(members[i], fmt::format("{} meets {} of pipeline rank {}: the order differs", to_string(mine),
                                              to_string(first), members[0]));
      } else if (shape(members[i], ops[i]) != shape(members[0], ops[0])) {
        problems_.add(members[i],
                      fmt::format("{} has another shape than on pipeline rank {}", to_string(mine), members[0]));
      }
      finish(members[i], queue, ops[i]);
    }
    return true;
  }

  /// Pipeline ranks of the group of the first rank of pipeline rank `rank`, lowest first.
  const std::vector<std::size_t>& members_of(Group group, std::size_t rank) {
    const auto [found, is_new] = members_.try_emplace({group, rank});
    if (is_new) {
      const std::int64_t first = static_cast<std::int64_t>(rank) * program_.mesh.ranks_per_stage();
      for (const RankId member : program_.mesh.members(group, RankId(static_cast<std::int32_t>(first)))) {
        const auto pipeline_rank = static_cast<std::size_t>(program_.mesh.coords(member).pp);
        if (found->second.empty() || found->second.back() != pipeline_rank) found->second.push_back(pipeline_rank);
      }
      std::sort(found->second.begin(), found->second.end());
      found->second.erase(std::unique(found->second.begin(), found->second.end()), found->second.end());
    }
    return found->second;
  }

  void report_left(std::size_t rank) {
    for (const Queue queue : states_[rank].in_use) {
      const auto& ops = states_[rank].queues[index(queue)];
      const std::size_t next = states_[rank].next[index(queue)];
      if (next == ops.size()) continue;
      problems_.add(rank, fmt::format("{} never runs, and {} ops behind it", to_string(key(rank, ops[next])),
                                      ops.size() - next - 1));
    }
  }

  const OpKey& key(std::size_t rank, OpIndex op) const { return program_.classes[rank].ops[op].key; }
  const OpShape& shape(std::size_t rank, OpIndex op) const {
    return program_.shapes[program_.classes[rank].ops[op].shape];
  }
  std::int64_t bytes_of_message(std::size_t rank, OpIndex op) const {
    return std::get<PeerShape>(shape(rank, op)).bytes;
  }

  const StepProgram& program_;
  Problems& problems_;
  std::vector<State> states_;
  std::map<std::pair<Group, std::size_t>, std::vector<std::size_t>> members_;
};

}  // namespace

void check_meetings(const StepProgram& program, Problems& problems) { DryRun(program, problems).run(); }

}  // namespace orrery::verify_checks
