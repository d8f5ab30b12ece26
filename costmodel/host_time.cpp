// SPDX-License-Identifier: Apache-2.0
#include "costmodel/host_time.h"

#include "base/check.h"
#include "costmodel/expert_passes.h"

#include <cstdint>
#include <utility>
#include <variant>

namespace orrery::costmodel {
namespace {

enum class Direction : std::uint8_t { forward, backward, end };

Direction direction_of(Pass pass) {
  switch (pass) {
    case Pass::fwd:
      return Direction::forward;
    case Pass::rec:
    case Pass::igrad:
    case Pass::wgrad:
      return Direction::backward;
    case Pass::sync:
    case Pass::update:
      return Direction::end;
  }
  CHECK(false, name_of(pass));
}

bool same_window(const OpKey& a, const OpKey& b) {
  return a.micro_batch == b.micro_batch && a.stage == b.stage && direction_of(a.pass) == direction_of(b.pass);
}

/// Ops that are more than one or two kernels.
constexpr std::pair<OpCode, double> kStreamingKernels[] = {
    {OpCode::attn_rope, 3.0}, {OpCode::moe_router, 20.0},  {OpCode::moe_permute, 10.0}, {OpCode::moe_unpermute, 10.0},
    {OpCode::head_loss, 8.0}, {OpCode::adamw_dense, 10.0}, {OpCode::adamw_expert, 10.0}};

double streaming_kernels(const OpKey& key) {
  for (const auto& [op, kernels] : kStreamingKernels) {
    if (op == key.op) return kernels;
  }
  return key.pass == Pass::igrad ? 3.0 : 2.0;
}

// A graph's launch takes 1 to 4 us of the host for 1 to 1000 nodes, and then a short node 0.88 us of an H100, 0.54 us
// of an H200, where PyTorch's host takes 12 us for a product (docs/validation/gpu: "graph", "launch").
constexpr double kShareInGraphs = 0.06;

struct Kernels {
  const OpKey& key;
  const KernelParameters& calls;

  /// In fp8 the gradient's cast is a kernel of its own.
  double operator()(const GemmShape& s) const {
    if (key.op == OpCode::moe_router) return 20.0;
    return s.dtype == DType::fp8 && key.pass == Pass::igrad ? 3.0 : 2.0;
  }
  /// Transformer Engine's grouped products are one for each expert, on several streams, and so are the casts to fp8.
  double operator()(const GroupedGemmShape& s) const {
    if (calls.fused_experts) return 4.0;
    const double products = 4.0 + static_cast<double>(s.num_experts) * (s.dtype == DType::fp8 ? 2.5 : 1.0);
    return products + expert_kernels(key, s, calls);
  }
  double operator()(const AttentionShape&) const {
    const bool backward = key.pass == Pass::igrad;
    if (calls.attention == AttentionKernels::materialized) return backward ? 12.0 : 10.0;
    return backward ? 5.0 : 4.0;
  }
  double operator()(const MemoryShape& s) const {
    return calls.fused_experts && key.op == OpCode::moe_act ? 0.0
                                                            : streaming_kernels(key) + expert_kernels(key, s, calls);
  }
  double operator()(const CollectiveShape&) const { return 2.0; }
  double operator()(const ExchangeShape&) const { return 10.0; }  // counts are exchanged and waited for, too
  double operator()(const PeerShape&) const { return 2.0; }
  double operator()(const CopyShape&) const { return 1.0; }
};

}  // namespace

double num_kernels(const OpKey& key, const OpShape& shape, const KernelParameters& kernels) {
  return std::visit(Kernels{key, kernels}, shape);
}

double host_share(const Strategy& strategy) { return strategy.cuda_graphs ? kShareInGraphs : 1.0; }

bool is_of_layer(Queue queue) {
  return queue == Queue::tp || queue == Queue::cp || queue == Queue::ep || queue == Queue::etp;
}

void wait_for_host(std::span<const Op> ops, std::span<const Seconds> host, std::span<const Seconds> alone,
                   std::vector<Seconds>& compute_time) {
  for (std::size_t first = 0; first < ops.size();) {
    std::size_t last = first;
    const Op* inside = nullptr;  // tells which window it is
    Seconds on_host, on_device, of_compute;
    for (; last < ops.size(); ++last) {
      const Op& op = ops[last];
      if (op.queue != Queue::compute && !is_of_layer(op.queue)) continue;
      if (inside == nullptr) inside = &op;
      if (!same_window(inside->key, op.key)) break;
      on_host += host[last];
      on_device += compute_time[last] + alone[last];
      if (op.queue == Queue::compute) of_compute += host[last];
    }
    const Seconds missing = on_host - on_device;
    const bool is_end = inside != nullptr && direction_of(inside->key.pass) == Direction::end;
    if (!is_end && missing > Seconds::zero() && of_compute > Seconds::zero()) {
      for (std::size_t i = first; i < last; ++i) {
        if (ops[i].queue == Queue::compute) compute_time[i] += missing * (host[i] / of_compute);
      }
    }
    first = last;
  }
}

}  // namespace orrery::costmodel
