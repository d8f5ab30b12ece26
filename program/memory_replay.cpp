// SPDX-License-Identifier: Apache-2.0
#include "program/memory_replay.h"

namespace orrery {

ReplayedPeak replay_memory(const RankClass& rank_class, double received) {
  ReplayedPeak peak;
  std::array<double, kNumTensorRoles> live{};
  double total = 0.0;
  for (OpIndex op = 0; op < rank_class.ops.size(); ++op) {
    const auto uses = rank_class.uses_of(op);
    const auto change = [&](TensorIndex index, double sign) {
      const Tensor& tensor = rank_class.tensors[index];
      const double bytes = sign * bytes_of(tensor, received);
      live[static_cast<std::size_t>(tensor.role)] += bytes;
      total += bytes;
    };
    for (const TensorUse& use : uses) {
      if (use.access() == Access::create) change(use.tensor(), 1.0);
    }
    if (total > peak.bytes.in(unit::byte)) peak = {.bytes = bytes(total), .op = op, .by_role = live};
    for (const TensorUse& use : uses) {
      if (use.releases()) change(use.tensor(), -1.0);
    }
  }
  return peak;
}

}  // namespace orrery
