// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "program/dtype.h"
#include "program/op_key.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <variant>

// What an op works on. Shapes are stored; FLOPs and bytes are derived from them in program/work.h and nowhere else.
// Sizes that the router decides stay symbolic (Rows) until an interpreter asks the LoadModel.

namespace orrery {

/// In-order queues of a rank, as a GPU has streams: ops of one queue run one after the other, in the order of the
/// program; ops of different queues run at the same time unless a dependency says otherwise. One queue per
/// communicator: each directed pipeline edge is a communicator of its own, else 1F1B would deadlock. Activations and
/// gradients that travel the same way, as in V-shaped and bidirectional schedules, have a queue each: their orders are
/// independent. The four without suffix carry activations to the next rank and gradients to the previous one.
enum class Queue : std::uint8_t {
  compute,
  copy,  // between device and host
  tp,
  cp,
  ep,
  etp,
  dp,
  edp,
  embedding,
  world,
  pp_send_next,
  pp_recv_prev,
  pp_send_prev,
  pp_recv_next,
  pp_send_prev_act,
  pp_recv_next_act,
  pp_send_next_grad,
  pp_recv_prev_grad,
};
inline constexpr int kNumQueues = static_cast<int>(Queue::pp_recv_prev_grad) + 1;

/// Whether the queue carries messages between pipeline ranks, and whether it sends them.
constexpr bool is_pipeline(Queue queue) { return queue >= Queue::pp_send_next; }
constexpr bool is_send(Queue queue) {
  return queue == Queue::pp_send_next || queue == Queue::pp_send_prev || queue == Queue::pp_send_prev_act ||
         queue == Queue::pp_send_next_grad;
}

/// Whether the other end of a pipeline queue is the next rank, not the previous one.
constexpr bool to_next_rank(Queue queue) {
  return queue == Queue::pp_send_next || queue == Queue::pp_recv_next || queue == Queue::pp_recv_next_act ||
         queue == Queue::pp_send_next_grad;
}

/// The sets of ranks that communicate; as slots, never rank numbers. Members follow from the mesh (program/mesh.h).
/// `dp_shard` and `dp_replica` split `dp` for hybrid sharding: states are sharded within the first and repeated over
/// the second; likewise for experts. `embedding`: the first and the last pipeline rank, which share a matrix.
enum class Group : std::uint8_t {
  self,
  tp,
  cp,
  dp,
  dp_shard,
  dp_replica,
  ep,
  etp,
  edp,
  edp_shard,
  edp_replica,
  embedding,
  stage,
  world,
  pp_next,
  pp_prev
};
inline constexpr int kNumGroups = static_cast<int>(Group::pp_prev) + 1;

/// Number of rows of a tensor or matrix.
/// `fixed`: count. `routed`: count (token, choice) pairs leave this rank for the experts of its EP group.
/// `received`: this rank's experts get as many pairs as the router sends; `count` is the number that each rank of
/// the group routes, so that a balanced router gives every rank exactly `count` rows.
/// `gathered`: what all ranks of this rank's ETP group receive together; `distinct`: tokens that arrive at this rank
/// when each is sent once however many of its experts are here. Their `count` is the one of a balanced router, too.
struct Rows {
  enum class Kind : std::uint8_t { fixed, routed, received, gathered, distinct };
  Kind kind = Kind::fixed;
  std::int64_t count = 0;
  auto operator<=>(const Rows&) const = default;
};

/// y[m, n] = x[m, k] w[n, k]^T. Passes: fwd computes y, igrad dx = dy w, wgrad dw += dy^T x (in `accumulate` dtype).
struct GemmShape {
  std::int64_t m = 0, n = 0, k = 0;
  DType dtype = DType::bf16;
  DType accumulate = DType::f32;
  auto operator<=>(const GemmShape&) const = default;
};

/// The same over `num_experts` local experts, each with its own weight and its own share of `rows`. `bias`: each adds a
/// bias of its own to y. `by_sender`: a flat exchange brings and takes the rows, one sender's after the other's, so
/// that a framework may have to sort them by expert.
struct GroupedGemmShape {
  Rows rows;
  std::int64_t num_experts = 0, n = 0, k = 0;
  DType dtype = DType::bf16;
  DType accumulate = DType::f32;
  bool bias = false, by_sender = false;
  auto operator<=>(const GroupedGemmShape&) const = default;
};

/// Softmax attention of `seq` queries over `kv_seq` keys of each of `batch` sequences. `causal`: half of the pairs
/// count, which also holds for the blocks of context parallelism in zigzag order. `window`: keys that a query sees, 0
/// for all. `chunked`: the window is a block of the sequence and does not slide.
struct AttentionShape {
  std::int64_t batch = 0, heads = 0, kv_heads = 0, seq = 0, kv_seq = 0, d_qk = 0, d_v = 0;
  bool causal = true;
  std::int64_t window = 0;
  bool chunked = false;
  DType dtype = DType::bf16;
  auto operator<=>(const AttentionShape&) const = default;
};

/// An op limited by memory: reads and writes so many bytes per row. `clamped_per_row`: elements that an activation cuts
/// off at a limit before it takes them.
struct MemoryShape {
  Rows rows;
  std::int64_t read_per_row = 0, written_per_row = 0, flops_per_row = 0, clamped_per_row = 0;
  auto operator<=>(const MemoryShape&) const = default;
};

enum class CollectiveKind : std::uint8_t { all_reduce, reduce_scatter, all_gather, all_to_all, ring_shift };

constexpr std::string_view name_of(CollectiveKind kind) {
  constexpr std::array<std::string_view, 5> kNames = {"all_reduce", "reduce_scatter", "all_gather", "all_to_all",
                                                      "ring_shift"};
  return kNames.at(static_cast<std::size_t>(kind));
}

/// A collective over `group` on a buffer of `bytes`: the whole (gathered) buffer, as nccl-tests counts it; of an
/// all-to-all, what each rank holds; of a ring shift, what each rank sends to the next. To these come `rows` of
/// `row_bytes` where the router decides how many there are.
struct CollectiveShape {
  CollectiveKind kind = CollectiveKind::all_reduce;
  Group group = Group::world;
  std::int64_t bytes = 0;
  Rows rows = {};
  std::int64_t row_bytes = 0;
  auto operator<=>(const CollectiveShape&) const = default;
};

/// Variable all-to-all in `group`: `rows.count` rows of `row_bytes` leave each rank. Dispatch goes from token to
/// expert, its transpose (combine) back. `count_bytes` go to each other rank beside them: the row counts of its
/// experts.
struct ExchangeShape {
  Rows rows;
  std::int64_t row_bytes = 0;
  std::int64_t count_bytes = 0;
  Group group = Group::ep;
  bool to_experts = true;
  /// Each token goes once to every node that has one of its experts, and from there inside the node (DeepEP). `rows`
  /// are pairs all the same; `top_k` of them are one token.
  bool two_level = false;
  std::int64_t top_k = 1;
  /// Node-limited routing: experts are in so many equal groups, and those of one token in at most so many of them.
  std::int64_t num_groups = 1, top_k_groups = 1;
  auto operator<=>(const ExchangeShape&) const = default;
};

/// One message along a pipeline edge.
struct PeerShape {
  std::int64_t bytes = 0;
  Group peer = Group::pp_next;
  bool send = true;
  auto operator<=>(const PeerShape&) const = default;
};

/// A copy between device and host: `bytes`, and `rows` of `row_bytes` where the router decides how many there are.
struct CopyShape {
  std::int64_t bytes = 0;
  Rows rows = {};
  std::int64_t row_bytes = 0;
  bool to_host = true;
  auto operator<=>(const CopyShape&) const = default;
};

using OpShape = std::variant<GemmShape, GroupedGemmShape, AttentionShape, MemoryShape, CollectiveShape, ExchangeShape,
                             PeerShape, CopyShape>;

using ShapeId = std::uint32_t;

/// What a host enqueues once on one queue. Small on purpose: a step of 2048 ranks has hundreds of thousands.
struct Op {
  OpKey key;
  Queue queue = Queue::compute;
  ShapeId shape = 0;  // into StepProgram::shapes
};

}  // namespace orrery
