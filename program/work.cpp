// SPDX-License-Identifier: Apache-2.0
#include "program/work.h"

#include "base/check.h"

#include <algorithm>

namespace orrery {
namespace {

/// Operands of a matrix product in rows of x, columns of y and inner columns of x.
Work gemm_work(Pass pass, double m, double num_weights, double n, double k, DType dtype, DType accumulate) {
  const auto size = static_cast<double>(size_of(dtype));
  const Flops products = flops(2.0 * m * n * k);
  const Bytes x = bytes(m * k * size), y = bytes(m * n * size), w = bytes(num_weights * n * k * size);
  const Bytes gradient = bytes(num_weights * n * k * static_cast<double>(size_of(accumulate)));
  switch (pass) {
    case Pass::fwd:
    case Pass::rec:
    case Pass::sync:
    case Pass::update:  // a product of the optimizer's
      return {products, x + w, y};
    case Pass::igrad:
      return {products, y + w, x};
    case Pass::wgrad:
      return {products, x + y + gradient, gradient};
  }
  CHECK(false, name_of(pass));
}

struct WorkOfShape {
  const OpKey& key;
  const ResolvedLoad& load;

  Work operator()(const GemmShape& s) const {
    return gemm_work(key.pass, static_cast<double>(s.m), 1.0, static_cast<double>(s.n), static_cast<double>(s.k),
                     s.dtype, s.accumulate);
  }
  Work operator()(const GroupedGemmShape& s) const {
    return gemm_work(key.pass, resolve(s.rows, load), static_cast<double>(s.num_experts), static_cast<double>(s.n),
                     static_cast<double>(s.k), s.dtype, s.accumulate);
  }
  Work operator()(const AttentionShape& s) const {
    const auto size = static_cast<double>(size_of(s.dtype));
    const auto batch = static_cast<double>(s.batch), heads = static_cast<double>(s.heads);
    const auto kv_heads = static_cast<double>(s.kv_heads), seq = static_cast<double>(s.seq);
    const auto d_qk = static_cast<double>(s.d_qk), d_v = static_cast<double>(s.d_v);
    const auto kv_seq = static_cast<double>(s.kv_seq), window = static_cast<double>(s.window);
    // Pairs of query and key that count. A causal window of w leaves w (keys - w / 2) for all keys' queries.
    double pairs = s.causal ? seq * kv_seq / 2.0 : seq * kv_seq;
    if (s.window > 0 && s.window < s.kv_seq) {
      const double first = s.causal ? window / 2.0 : 0.0;  // missing of the queries that see less than a window
      pairs = seq * window * (s.chunked ? 0.5 : 1.0 - first / kv_seq);
    }
    const double forward = 2.0 * batch * heads * pairs * load.attention_share * (d_qk + d_v);
    const double q = batch * seq * heads * d_qk * size, kv = batch * kv_seq * kv_heads * (d_qk + d_v) * size;
    const double out = batch * seq * heads * d_v * size, lse = batch * seq * heads * 4.0;
    if (key.pass == Pass::igrad) {
      return {flops(2.5 * forward), bytes(q + kv + 2.0 * out + lse), bytes(q + kv)};
    }
    return {flops(forward), bytes(q + kv), bytes(out + lse)};
  }
  Work operator()(const MemoryShape& s) const {
    const double rows = resolve(s.rows, load);
    return {flops(rows * static_cast<double>(s.flops_per_row)), bytes(rows * static_cast<double>(s.read_per_row)),
            bytes(rows * static_cast<double>(s.written_per_row))};
  }
  Work operator()(const CollectiveShape&) const { return {}; }
  Work operator()(const ExchangeShape&) const { return {}; }
  Work operator()(const PeerShape&) const { return {}; }
  Work operator()(const CopyShape&) const { return {}; }
};

}  // namespace

double expected_distinct(std::int64_t num_experts, std::int64_t top_k, std::int64_t num_groups) {
  const std::int64_t elsewhere = num_experts - num_experts / num_groups;
  double none_here = 1.0;  // that no expert of one group is chosen
  for (std::int64_t i = 0; i < top_k; ++i) {
    none_here *= static_cast<double>(std::max<std::int64_t>(elsewhere - i, 0)) / static_cast<double>(num_experts - i);
  }
  return static_cast<double>(num_groups) * (1.0 - none_here);
}

double expected_nodes(std::int64_t num_experts, std::int64_t top_k, std::int64_t num_nodes, std::int64_t num_groups,
                      std::int64_t top_k_groups) {
  const double free = expected_distinct(num_experts, top_k, num_nodes);
  if (num_groups <= 1) return free;
  // Nodes that the chosen groups lie on: a group on part of a node, or on several.
  const double nodes_of_group = std::max(1.0, static_cast<double>(num_nodes) / static_cast<double>(num_groups));
  constexpr double kUsed = 3.96 / 4.0;  // of the chosen groups, by DeepSeek-V3's rule
  return std::min(free, kUsed * static_cast<double>(top_k_groups) * nodes_of_group);
}

double resolve(const Rows& rows, const ResolvedLoad& load) {
  switch (rows.kind) {
    case Rows::Kind::fixed:
    case Rows::Kind::routed:
      break;
    case Rows::Kind::received:
      return load.received;
    case Rows::Kind::gathered:
      return load.gathered;
    case Rows::Kind::distinct:
      return load.distinct;
  }
  return static_cast<double>(rows.count);
}

Work work_of(const OpKey& key, const OpShape& shape, const ResolvedLoad& load) {
  return std::visit(WorkOfShape{key, load}, shape);
}

Bytes wire_bytes(const CollectiveShape& shape, std::int64_t size) {
  const auto n = static_cast<double>(size);
  const auto size_in_bytes = static_cast<double>(shape.bytes);
  switch (shape.kind) {
    case CollectiveKind::all_reduce:
      return bytes(2.0 * (n - 1.0) / n * size_in_bytes);
    case CollectiveKind::reduce_scatter:
    case CollectiveKind::all_gather:
    case CollectiveKind::all_to_all:
      return bytes((n - 1.0) / n * size_in_bytes);
    case CollectiveKind::ring_shift:
      return n > 1.0 ? bytes(size_in_bytes) : Bytes::zero();
  }
  CHECK(false, static_cast<int>(shape.kind));
}

Bytes wire_bytes(const ExchangeShape& shape, const RoutingMatrix& routing, std::int64_t member) {
  const bool counted = shape.two_level && !routing.tokens.empty();
  double rows = 0.0;
  for (std::int64_t peer = 0; peer < routing.group; ++peer) {
    if (peer == member) continue;
    const std::int64_t from = shape.to_experts ? member : peer, to = shape.to_experts ? peer : member;
    rows += counted ? routing.tokens_sent(from, to) : routing.sent(from, to);
  }
  if (shape.two_level && !counted)
    rows *= expected_distinct(routing.num_experts, shape.top_k, routing.group) / static_cast<double>(shape.top_k);
  const auto peers = static_cast<double>(routing.group - 1);
  return bytes(rows * static_cast<double>(shape.row_bytes) + peers * static_cast<double>(shape.count_bytes));
}

}  // namespace orrery
