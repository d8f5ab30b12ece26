// SPDX-License-Identifier: Apache-2.0
#include "program/memory_replay.h"

#include <algorithm>

namespace orrery {
namespace {

/// Goes through the ops of a class: `change(tensor, +1 or -1)` when memory of a tensor is taken or given back, and
/// `run(op)` in between, when all that the op needs is alive.
template <class Change, class Run>
void replay(const RankClass& rank_class, Change&& change, Run&& run) {
  for (OpIndex op = 0; op < rank_class.ops.size(); ++op) {
    const auto uses = rank_class.uses_of(op);
    for (const TensorUse& use : uses) {
      if (use.access() == Access::create) change(rank_class.tensors[use.tensor()], 1.0);
    }
    run(op);
    for (const TensorUse& use : uses) {
      if (use.releases()) change(rank_class.tensors[use.tensor()], -1.0);
    }
  }
}

bool is_arriving(const Rows& rows) { return rows.kind != Rows::Kind::fixed && rows.kind != Rows::Kind::routed; }

}  // namespace

ReplayedPeak replay_memory(const RankClass& rank_class, const Arrivals& arrivals) {
  ReplayedPeak peak;
  std::array<double, kNumTensorRoles> live{};
  double total = 0.0;
  replay(
      rank_class,
      [&](const Tensor& tensor, double sign) {
        const double bytes = sign * arrivals.bytes_of(tensor);
        live[static_cast<std::size_t>(tensor.role)] += bytes;
        total += bytes;
      },
      [&](OpIndex op) {
        if (total > peak.bytes.in(unit::byte)) peak = {.bytes = bytes(total), .op = op, .by_role = live};
      });
  return peak;
}

std::vector<Bytes> replay_peaks(const RankClass& rank_class, std::span<const Arrivals> ranks) {
  const Arrivals balanced = Arrivals::balanced();
  double same_for_all = 0.0;
  std::vector<double> own(ranks.size()), most(ranks.size());
  replay(
      rank_class,
      [&](const Tensor& tensor, double sign) {
        if (!is_arriving(tensor.rows)) {
          same_for_all += sign * balanced.bytes_of(tensor);
          return;
        }
        for (std::size_t i = 0; i < ranks.size(); ++i) own[i] += sign * ranks[i].bytes_of(tensor);
      },
      [&](OpIndex) {
        for (std::size_t i = 0; i < ranks.size(); ++i) most[i] = std::max(most[i], same_for_all + own[i]);
      });
  std::vector<Bytes> peaks;
  peaks.reserve(most.size());
  for (const double peak : most) peaks.push_back(bytes(peak));
  return peaks;
}

std::vector<MemorySample> memory_timeline(const RankClass& rank_class, const Arrivals& arrivals) {
  std::vector<MemorySample> samples;
  samples.reserve(rank_class.ops.size());
  double total = 0.0;
  replay(
      rank_class, [&](const Tensor& tensor, double sign) { total += sign * arrivals.bytes_of(tensor); },
      [&](OpIndex op) { samples.push_back({.op = op, .live = bytes(total)}); });
  return samples;
}

}  // namespace orrery
