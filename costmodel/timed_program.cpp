// SPDX-License-Identifier: Apache-2.0
#include "costmodel/timed_program.h"

#include "base/check.h"
#include "costmodel/host_time.h"
#include "costmodel/op_timer.h"
#include "costmodel/simulated_ranks.h"

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <optional>
#include <unordered_map>
#include <utility>

namespace orrery::costmodel {
namespace {

/// Directed pipeline edges that leave a rank: activations and gradients to the next one and to the previous one.
constexpr std::size_t kNumEdges = 4;

std::size_t edge_of(Queue queue) {
  if (queue == Queue::pp_send_next || queue == Queue::pp_recv_prev) return 0;
  if (queue == Queue::pp_send_prev || queue == Queue::pp_recv_next) return 1;
  if (queue == Queue::pp_send_prev_act || queue == Queue::pp_recv_next_act) return 2;
  CHECK(queue == Queue::pp_send_next_grad || queue == Queue::pp_recv_prev_grad, static_cast<int>(queue));
  return 3;
}

struct IsSameTime {
  bool operator()(const CommTime& a, const CommTime& b) const {
    return a.latency == b.latency && a.extrapolated == b.extrapolated &&
           std::ranges::equal(a.used_legs(), b.used_legs(), [](const Leg& x, const Leg& y) {
             return x.path == y.path && x.bytes == y.bytes && x.bandwidth == y.bandwidth;
           });
  }
};

struct HashOfTime {
  std::size_t operator()(const CommTime& time) const {
    std::size_t hash = 0;
    const auto add = [&](double value) { hash = hash * 31 + std::hash<double>()(value); };
    add(time.latency.in(unit::second));
    for (const Leg& leg : time.used_legs()) {
      add(leg.bytes.in(unit::byte));
      add(leg.bandwidth.in(unit::byte_per_second));
    }
    return hash;
  }
};

/// Builds the meetings of a program while the ranks go through their ops in order.
class Resolver {
 public:
  Resolver(const StepProgram& program, const CostModel& model, const SimulatedRanks& simulated, const RunInput& input)
      : program_(program),
        simulated_(simulated),
        model_(model),
        timer_(program, model, simulated, input),
        disturbances_(input.disturbances),
        disturbed_(input.disturbances.on_compute()),
        messages_(simulated.ranks().size() * kNumEdges) {
    out_.program = &program;
    out_.load = input.load;
    out_.disturbances = input.disturbances;
    out_.ranks.reserve(simulated.ranks().size());
  }

  TimedProgram run() {
    for (const SimulatedRank& rank : simulated_.ranks()) {
      out_.ranks.push_back({.view = rank.view,
                            .device = rank.device,
                            .represents = rank.represents,
                            .represents_on_node = rank.represents_on_node,
                            .nodes_on_leaf = rank.nodes_on_leaf,
                            .compute_time = {},
                            .slowdown = {},
                            .slowdown_by_exchange = {},
                            .meeting = {},
                            .sent = {},
                            .overlap = model_.overlap(rank.device)});
      resolve(out_.ranks.back());
    }
    for (std::int32_t rank = 0; rank < program_.mesh.world(); ++rank) {
      out_.device_of_rank.push_back(simulated_.device_of(RankId(rank)));
      out_.simulated_of_rank.push_back(simulated_.index_of(RankId(rank)));
    }
    out_.extrapolated = timer_.extrapolated();
    return std::move(out_);
  }

 private:
  void resolve(TimedRank& rank) {
    const std::vector<Op>& ops = out_.class_of(rank).ops;
    std::vector<Seconds> compute_time(ops.size());
    std::vector<Bytes> sent(ops.size());
    std::vector<float> slowdown;
    rank.meeting.assign(ops.size(), kNoMeeting);
    timer_.enter(out_.ranks.size() - 1);
    const std::int64_t number = rank.view.rank.value();
    const double of_rank = rank_factor(disturbances_, number);
    std::array<std::size_t, kNumQueues> ordinal{};
    num_issued_.fill(0);
    of_rank_at_hand_.fill({});
    std::vector<float> by_exchange(ops.size());
    bool is_slower_by_exchange = false;
    for (OpIndex i = 0; i < ops.size(); ++i) {
      const Op& op = ops[i];
      if (op.queue == Queue::compute) {
        const OpTime time = timer_.compute(op);
        compute_time[i] = time.time;
        if (disturbed_) compute_time[i] *= of_rank * op_factor(disturbances_, number, i);
        if (time.slowdown && slowdown.empty()) {
          slowdown.assign(ops.size(), static_cast<float>(rank.overlap.compute_slowdown));
        }
        if (time.slowdown) slowdown[i] = static_cast<float>(*time.slowdown);
        const float beside = slowdown.empty() ? static_cast<float>(rank.overlap.compute_slowdown) : slowdown[i];
        by_exchange[i] = static_cast<float>(time.slowdown_by_exchange.value_or(static_cast<double>(beside)));
        is_slower_by_exchange = is_slower_by_exchange || time.slowdown_by_exchange;
        continue;
      }
      const std::size_t nth = ordinal[static_cast<std::size_t>(op.queue)]++;
      sent[i] = timer_.sent(op);
      rank.meeting[i] = std::holds_alternative<PeerShape>(program_.shapes[op.shape]) ? message(rank, op, nth)
                                                                                     : collective(rank, op, i);
    }
    if (!is_slower_by_exchange) by_exchange.clear();
    wait_for_its_host(rank, ops, compute_time);
    Columns& before = columns_.try_emplace(rank.view.program_class).first->second;
    rank.compute_time = shared(compute_time, before.compute_time);
    rank.slowdown = shared(slowdown, before.slowdown);
    rank.slowdown_by_exchange = shared(by_exchange, before.slowdown_by_exchange);
    rank.sent = shared(sent, before.sent);
  }

  /// The column of another rank of the class, if it has these values; else a new one.
  template <class T>
  static SharedColumn<T> shared(const std::vector<T>& values, SharedColumn<T>& before) {
    if (!std::ranges::equal(values, before)) before = values;
    return before;
  }

  void wait_for_its_host(const TimedRank& rank, const std::vector<Op>& ops, std::vector<Seconds>& compute_time) {
    const double share = host_share(program_.strategy);
    std::vector<Seconds> host(ops.size()), alone(ops.size());
    bool is_known = false;
    for (OpIndex i = 0; i < ops.size(); ++i) {
      host[i] = share * model_.dispatch(ops[i].key, program_.shapes[ops[i].shape]);
      is_known = is_known || host[i] > Seconds::zero();
      if (is_of_layer(ops[i].queue)) alone[i] = out_.time_of(rank.meeting[i]).alone();
    }
    if (is_known) costmodel::wait_for_host(ops, host, alone, compute_time);
  }

  /// The nth message along an edge is one meeting of the sender's nth send and the receiver's nth receive.
  MeetingIndex message(const TimedRank& rank, const Op& op, std::size_t nth) {
    const PeerShape& shape = std::get<PeerShape>(program_.shapes[op.shape]);
    const auto self = static_cast<std::uint32_t>(&rank - out_.ranks.data());
    const std::uint32_t peer = simulated_.index_of(program_.mesh.members(shape.peer, rank.view.rank).front());
    const std::uint32_t sender = shape.send ? self : peer, receiver = shape.send ? peer : self;
    std::vector<MeetingIndex>& edge = messages_[kNumEdges * std::size_t{sender} + edge_of(op.queue)];
    CHECK(nth <= edge.size(), to_string(op.key));
    if (nth == edge.size()) {
      const auto first = static_cast<std::uint32_t>(out_.participants.size());
      out_.participants.insert(out_.participants.end(), {sender, receiver});
      edge.push_back(add(
          {.time = number_of(timer_.comm(op)), .first_participant = first, .num_participants = 2, .message = true}));
    }
    return edge[nth];
  }

  MeetingIndex collective(const TimedRank& rank, const Op& op, OpIndex i) {
    const Group group = group_of(program_.shapes[op.shape]);
    if (program_.mesh.spans_pipeline_ranks(group)) return spanning(rank, op, group);
    // Members are of one class and issue the same op; the lowest of them came first.
    const std::uint32_t leader = simulated_.leader(group, rank.view.rank);
    if (&out_.ranks[leader] != &rank) return out_.ranks[leader].meeting[i];
    return add_collective(op, group, rank);
  }

  /// A collective of ranks of several classes: the nth of its group is the same communication in all of them.
  MeetingIndex spanning(const TimedRank& rank, const Op& op, Group group) {
    std::vector<MeetingIndex>& meetings = spanning_[{group, simulated_.communicator(group, rank.view.rank)}];
    const std::size_t nth = num_issued_[static_cast<std::size_t>(group)]++;
    CHECK(nth <= meetings.size(), to_string(op.key));
    if (nth == meetings.size()) meetings.push_back(add_collective(op, group, rank));
    return meetings[nth];
  }

  MeetingIndex add_collective(const Op& op, Group group, const TimedRank& rank) {
    std::optional<Participants>& known = of_rank_at_hand_[static_cast<std::size_t>(group)];
    if (!known) known = participants(group, rank);
    return add({.time = number_of(timer_.comm(op)),
                .first_participant = known->first,
                .num_participants = known->second,
                .exchange = std::holds_alternative<ExchangeShape>(program_.shapes[op.shape])});
  }

  /// Of the rank that came last of a class: mostly all are alike.
  struct Columns {
    SharedColumn<Seconds> compute_time;
    SharedColumn<float> slowdown, slowdown_by_exchange;
    SharedColumn<Bytes> sent;
  };

  /// Of a group, as a range of TimedProgram::participants.
  using Participants = std::pair<std::uint32_t, std::uint32_t>;
  Participants participants(Group group, const TimedRank& rank) {
    const auto [found, is_new] = groups_.try_emplace({group, program_.mesh.group_index(group, rank.view.rank)});
    if (is_new) {
      const std::vector<std::uint32_t> members = simulated_.members(group, rank.view.rank);
      found->second = {static_cast<std::uint32_t>(out_.participants.size()),
                       static_cast<std::uint32_t>(members.size())};
      out_.participants.insert(out_.participants.end(), members.begin(), members.end());
    }
    return found->second;
  }

  /// In TimedProgram::comm_times.
  std::uint32_t number_of(const CommTime& time) {
    const auto [known, is_new] = comm_times_.try_emplace(time, static_cast<std::uint32_t>(out_.comm_times.size()));
    if (is_new) out_.comm_times.push_back(time);
    return known->second;
  }

  MeetingIndex add(const Meeting& meeting) {
    out_.meetings.push_back(meeting);
    return static_cast<MeetingIndex>(out_.meetings.size() - 1);
  }

  const StepProgram& program_;
  const SimulatedRanks& simulated_;
  const CostModel& model_;
  OpTimer timer_;
  const Disturbances& disturbances_;
  const bool disturbed_;
  TimedProgram out_;
  std::map<ClassId, Columns> columns_;
  std::unordered_map<CommTime, std::uint32_t, HashOfTime, IsSameTime> comm_times_;
  std::vector<std::vector<MeetingIndex>> messages_;  // by sender and direction
  std::map<std::pair<Group, std::int64_t>, std::vector<MeetingIndex>> spanning_;
  std::array<std::size_t, kNumGroups> num_issued_{};  // by the rank at hand, of each kind of group
  std::map<std::pair<Group, std::int64_t>, Participants> groups_;
  std::array<std::optional<Participants>, kNumGroups> of_rank_at_hand_;  // the same
};

}  // namespace

TimedProgram time_program(const StepProgram& program, const CostModel& model, const Cluster& cluster,
                          std::span<const DeviceIndex> device_of_rank, const RunInput& input) {
  const SimulatedRanks simulated(program, cluster, device_of_rank, input);
  return Resolver(program, model, simulated, input).run();
}

}  // namespace orrery::costmodel
