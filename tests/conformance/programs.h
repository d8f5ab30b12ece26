// SPDX-License-Identifier: Apache-2.0
// Small programs with known answers, for every interpreter: each is built by hand, op by op, so that a mistake of the
// lowering cannot hide in it, and is timed by a cost model in which one byte of memory traffic takes a nanosecond.
#pragma once

#include "costmodel/cost_model.h"
#include "program/cluster.h"
#include "program/step_program.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace orrery::testing {

/// Nodes with ports of 100 GB/s inside (1 us) and of 25 GB/s to the network (5 us), two nodes below one leaf.
inline Cluster small_cluster(std::int64_t num_nodes, std::int64_t devices_per_node) {
  NodeGroup group;
  group.name = "small";
  group.num_nodes = num_nodes;
  group.devices_per_node = devices_per_node;
  group.device.name = "unit";
  group.device.memory = gib(16);
  group.scale_up = {
      .kind = ScaleUpKind::nvlink, .span_nodes = 1, .per_device = bytes_per_second(100e9), .latency = microseconds(1)};
  group.nics = Nics{.per_node = devices_per_node,
                    .each = bytes_per_second(25e9),
                    .rails = devices_per_node,
                    .latency = microseconds(5)};
  Cluster cluster;
  cluster.name = "small";
  cluster.groups = {group};
  cluster.fabric = {.kind = FabricKind::rail_leaf_spine, .nodes_per_leaf = 2, .oversubscription = 1.0, .planes = 1};
  return cluster;
}

/// Compute: one nanosecond for each byte of memory traffic. Communication: its payload over the widest path of its
/// members at the nominal rate of their ports, after the latency of that path. No efficiencies, no fits.
class NanosecondPerByte : public costmodel::CostModel {
 public:
  explicit NanosecondPerByte(Cluster cluster, costmodel::OverlapRule overlap = {})
      : cluster_(std::move(cluster)), overlap_(overlap) {}

  costmodel::OpTime compute(const OpKey&, const OpShape& shape, const ResolvedLoad& load, DeviceIndex) const override {
    const MemoryShape& memory = std::get<MemoryShape>(shape);
    const double rows =
        memory.rows.kind == Rows::Kind::received ? load.received : static_cast<double>(memory.rows.count);
    return {.time = rows * static_cast<double>(memory.read_per_row + memory.written_per_row) * unit::nanosecond};
  }
  costmodel::CommTime collective(const CollectiveShape& shape, std::span<const DeviceIndex> members) const override {
    return over_widest_path(wire_bytes(shape, static_cast<std::int64_t>(members.size())), members);
  }
  costmodel::CommTime exchange(const ExchangeShape& shape, const RoutingMatrix& routing,
                               std::span<const DeviceIndex> members) const override {
    Bytes largest;
    for (std::int64_t i = 0; i < routing.group; ++i) largest = std::max(largest, wire_bytes(shape, routing, i));
    return over_widest_path(largest, members);
  }
  costmodel::CommTime copy(const CopyShape& shape, DeviceIndex /*device*/) const override {
    return {.latency = seconds(static_cast<double>(shape.bytes)), .legs = {}, .num_legs = 0};
  }
  costmodel::CommTime peer(const PeerShape& shape, DeviceIndex from, DeviceIndex to) const override {
    const DeviceIndex ends[] = {from, to};
    return over_widest_path(bytes(static_cast<double>(shape.bytes)), ends);
  }
  costmodel::OverlapRule overlap(DeviceIndex) const override { return overlap_; }

 private:
  costmodel::CommTime over_widest_path(Bytes payload, std::span<const DeviceIndex> members) const {
    const NodeGroup& group = cluster_.groups.front();
    const Cluster::Location first = cluster_.locate(members.front());
    auto path = costmodel::PathClass::node;
    for (DeviceIndex member : members) {
      const Cluster::Location place = cluster_.locate(member);
      if (place.leaf != first.leaf) path = costmodel::PathClass::spine;
      if (place.domain != first.domain) path = std::max(path, costmodel::PathClass::rail);
    }
    const bool inside = path == costmodel::PathClass::node;
    costmodel::CommTime time;
    time.latency = inside ? group.scale_up.latency.value() : group.nics.value().latency.value();
    time.legs[0] = {.path = path,
                    .bytes = payload,
                    .bandwidth = inside ? group.scale_up.per_device.value() : group.nics.value().each.value()};
    time.num_legs = 1;
    return time;
  }

  Cluster cluster_;
  costmodel::OverlapRule overlap_;
};

/// Adds ops to the classes of a StepProgram in host enqueue order. Keys are unique: the n-th op of a stage carries
/// micro-batch n.
class ProgramBuilder {
 public:
  /// `pp` pipeline ranks of `ranks_per_stage` ranks each, which form EP groups of `ep` ranks over `num_experts`.
  explicit ProgramBuilder(std::int64_t pp = 1, std::int64_t ranks_per_stage = 1, std::int64_t ep = 1,
                          std::int64_t num_experts = 8, Schedule schedule = Schedule::one_f_one_b)
      : program_{.model = {},
                 .strategy = strategy_of(pp, ep, schedule),
                 .batch = {.seq = 1, .global_batch = ranks_per_stage},
                 .mesh = Mesh(strategy_of(pp, ep, schedule), pp * ranks_per_stage),
                 .num_micro_batches = 1,
                 .shapes = {},
                 .classes = {}} {
    program_.model.moe = MoeBlock{.num_experts = num_experts, .top_k = 1};
    for (std::int64_t rank = 0; rank < pp; ++rank) {
      RankClass& added = program_.classes.emplace_back();
      added.pipeline_rank = rank;
      added.stages = {rank};
      added.dep_begin = {0};
      added.use_begin = {0};
    }
  }

  /// A compute op that takes `time` under NanosecondPerByte.
  OpIndex compute(std::int64_t stage, Seconds time, std::vector<OpIndex> deps = {}) {
    const std::int64_t nanoseconds = std::llround(time.in(unit::nanosecond));
    return add(stage, OpCode::mlp_fc1, Queue::compute, MemoryShape{.rows = {.count = nanoseconds}, .read_per_row = 1},
               std::move(deps));
  }
  /// A compute op of one nanosecond for each row that arrives at the rank's experts; each rank routes `pairs`.
  OpIndex experts(std::int64_t stage, std::int64_t pairs, std::vector<OpIndex> deps = {}) {
    return add(stage, OpCode::moe_act, Queue::compute,
               MemoryShape{.rows = {.kind = Rows::Kind::received, .count = pairs}, .read_per_row = 1}, std::move(deps));
  }
  OpIndex all_reduce(std::int64_t stage, Queue queue, Group group, std::int64_t num_bytes,
                     std::vector<OpIndex> deps = {}) {
    return collective(stage, CollectiveKind::all_reduce, queue, group, num_bytes, std::move(deps));
  }
  /// `num_bytes`: as CollectiveShape counts them.
  OpIndex collective(std::int64_t stage, CollectiveKind kind, Queue queue, Group group, std::int64_t num_bytes,
                     std::vector<OpIndex> deps = {}) {
    return add(stage, OpCode::dp_grad_ar, queue, CollectiveShape{.kind = kind, .group = group, .bytes = num_bytes},
               std::move(deps));
  }
  /// A dispatch of `pairs` rows of each rank.
  OpIndex dispatch(std::int64_t stage, std::int64_t pairs, std::int64_t row_bytes, std::vector<OpIndex> deps = {}) {
    return add(stage, OpCode::moe_dispatch, Queue::ep,
               ExchangeShape{.rows = {.kind = Rows::Kind::routed, .count = pairs}, .row_bytes = row_bytes},
               std::move(deps));
  }
  /// The way back of a dispatch of `pairs` rows.
  OpIndex combine(std::int64_t stage, std::int64_t pairs, std::int64_t row_bytes, std::vector<OpIndex> deps = {}) {
    return add(stage, OpCode::moe_combine, Queue::ep,
               ExchangeShape{
                   .rows = {.kind = Rows::Kind::routed, .count = pairs}, .row_bytes = row_bytes, .to_experts = false},
               std::move(deps));
  }
  OpIndex send_next(std::int64_t stage, std::int64_t num_bytes, std::vector<OpIndex> deps = {}) {
    return message(stage, OpCode::pp_send_act, Queue::pp_send_next, num_bytes, std::move(deps));
  }
  OpIndex recv_prev(std::int64_t stage, std::int64_t num_bytes, std::vector<OpIndex> deps = {}) {
    return message(stage, OpCode::pp_recv_act, Queue::pp_recv_prev, num_bytes, std::move(deps));
  }
  OpIndex send_prev(std::int64_t stage, std::int64_t num_bytes, std::vector<OpIndex> deps = {}) {
    return message(stage, OpCode::pp_send_grad, Queue::pp_send_prev, num_bytes, std::move(deps));
  }
  OpIndex recv_next(std::int64_t stage, std::int64_t num_bytes, std::vector<OpIndex> deps = {}) {
    return message(stage, OpCode::pp_recv_grad, Queue::pp_recv_next, num_bytes, std::move(deps));
  }

  /// A message of any kind: `kind` names the op and `queue` the edge.
  OpIndex message(std::int64_t stage, OpCode kind, Queue queue, std::int64_t num_bytes,
                  std::vector<OpIndex> deps = {}) {
    return add(
        stage, kind, queue,
        PeerShape{
            .bytes = num_bytes, .peer = to_next_rank(queue) ? Group::pp_next : Group::pp_prev, .send = is_send(queue)},
        std::move(deps));
  }

  const StepProgram& program() const { return program_; }

 private:
  static Strategy strategy_of(std::int64_t pp, std::int64_t ep, Schedule schedule) {
    Strategy strategy;
    strategy.pp = pp;
    strategy.ep = ep;
    strategy.schedule = schedule;
    return strategy;
  }

  OpIndex add(std::int64_t stage, OpCode code, Queue queue, OpShape shape, std::vector<OpIndex> deps) {
    RankClass& rank = program_.classes[static_cast<std::size_t>(stage)];
    const auto index = static_cast<OpIndex>(rank.ops.size());
    const auto found = std::find(program_.shapes.begin(), program_.shapes.end(), shape);
    const auto shape_id = static_cast<ShapeId>(found - program_.shapes.begin());
    if (found == program_.shapes.end()) program_.shapes.push_back(shape);
    rank.ops.push_back({.key = {.micro_batch = static_cast<std::int32_t>(index),
                                .stage = static_cast<std::int16_t>(stage),
                                .layer = 0,
                                .pass = Pass::fwd,
                                .op = code},
                        .queue = queue,
                        .shape = shape_id});
    rank.deps.insert(rank.deps.end(), deps.begin(), deps.end());
    rank.dep_begin.push_back(static_cast<std::uint32_t>(rank.deps.size()));
    rank.use_begin.push_back(0);
    return index;
  }

  StepProgram program_;
};

/// Two stages of two ranks, each 10 us of arithmetic with 500 kB in between, and then 400 kB of gradients to sum.
inline StepProgram pipeline_of_two(std::string_view order) {
  ProgramBuilder builder(2, 2);
  builder.send_next(0, 500000, {builder.compute(0, microseconds(10))});
  const OpIndex received = builder.recv_prev(1, 500000);
  builder.all_reduce(1, Queue::dp, Group::dp, 400000, {builder.compute(1, microseconds(10), {received})});
  StepProgram program = builder.program();
  program.strategy.order = order;
  return program;
}

}  // namespace orrery::testing
