// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "program/dtype.h"
#include "program/op_key.h"

#include <cstdint>
#include <variant>

// What an op works on. Shapes are stored; FLOPs and bytes are derived from them in program/work.h and nowhere else.
// Sizes that the router decides stay symbolic (Rows) until an interpreter asks the LoadModel.

namespace orrery {

/// In-order queues of a rank, as a GPU has streams: ops of one queue run one after the other, in the order of the
/// program; ops of different queues run at the same time unless a dependency says otherwise. One queue per
/// communicator: each directed pipeline edge is a communicator of its own, else 1F1B would deadlock.
enum class Queue : std::uint8_t {
  compute,
  ep,
  dp,
  edp,
  world,
  pp_send_next,
  pp_recv_prev,
  pp_send_prev,
  pp_recv_next,
};
inline constexpr int kNumQueues = static_cast<int>(Queue::pp_recv_next) + 1;

/// The sets of ranks that communicate; as slots, never rank numbers. Members follow from the mesh (program/mesh.h).
enum class Group : std::uint8_t { self, tp, cp, dp, ep, etp, edp, stage, world, pp_next, pp_prev };

/// Number of rows of a tensor or matrix.
/// `fixed`: count. `routed`: count (token, choice) pairs leave this rank for the experts of its EP group.
/// `received`: this rank's experts get as many pairs as the router sends; `count` is the number that each rank of
/// the group routes, so that a balanced router gives every rank exactly `count` rows.
struct Rows {
  enum class Kind : std::uint8_t { fixed, routed, received };
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

/// The same over `num_experts` local experts, each with its own weight and its own share of `rows`.
struct GroupedGemmShape {
  Rows rows;
  std::int64_t num_experts = 0, n = 0, k = 0;
  DType dtype = DType::bf16;
  DType accumulate = DType::f32;
  auto operator<=>(const GroupedGemmShape&) const = default;
};

/// Softmax attention over `batch` sequences of length `seq`; a window of 0 means none.
struct AttentionShape {
  std::int64_t batch = 0, heads = 0, kv_heads = 0, seq = 0, d_qk = 0, d_v = 0;
  bool causal = true;
  std::int64_t window = 0;
  DType dtype = DType::bf16;
  auto operator<=>(const AttentionShape&) const = default;
};

/// An op limited by memory: reads and writes so many bytes per row.
struct MemoryShape {
  Rows rows;
  std::int64_t read_per_row = 0, written_per_row = 0, flops_per_row = 0;
  auto operator<=>(const MemoryShape&) const = default;
};

enum class CollectiveKind : std::uint8_t { all_reduce, reduce_scatter, all_gather };

/// A collective over `group` on a buffer of `bytes`: the whole (gathered) buffer, as nccl-tests counts it.
struct CollectiveShape {
  CollectiveKind kind = CollectiveKind::all_reduce;
  Group group = Group::world;
  std::int64_t bytes = 0;
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
  auto operator<=>(const ExchangeShape&) const = default;
};

/// One message along a pipeline edge.
struct PeerShape {
  std::int64_t bytes = 0;
  Group peer = Group::pp_next;
  bool send = true;
  auto operator<=>(const PeerShape&) const = default;
};

using OpShape =
    std::variant<GemmShape, GroupedGemmShape, AttentionShape, MemoryShape, CollectiveShape, ExchangeShape, PeerShape>;

using ShapeId = std::uint32_t;

/// What a host enqueues once on one queue. Small on purpose: a step of 2048 ranks has hundreds of thousands.
struct Op {
  OpKey key;
  Queue queue = Queue::compute;
  ShapeId shape = 0;  // into StepProgram::shapes
};

}  // namespace orrery
