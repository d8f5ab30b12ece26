// SPDX-License-Identifier: Apache-2.0
#include "traces/activities.h"

#include "base/check.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <utility>
#include <vector>

namespace orrery {
namespace {

constexpr OpCode kProducts[] = {OpCode::attn_qkv,   OpCode::attn_q_down, OpCode::attn_q_up,   OpCode::attn_kv_down,
                                OpCode::attn_kv_up, OpCode::attn_core,   OpCode::attn_out,    OpCode::mlp_fc1,
                                OpCode::mlp_fc2,    OpCode::moe_router,  OpCode::moe_fc1,     OpCode::moe_fc2,
                                OpCode::shared_fc1, OpCode::shared_fc2,  OpCode::head_logits, OpCode::mtp_proj,
                                OpCode::muon_dense, OpCode::muon_expert};

/// Seconds from begin to end, of one rank and step.
using Interval = std::pair<double, double>;

struct OfRank {
  std::vector<Interval> compute, communication;
};

/// How long some communication is on its way while nothing is computed. Sorts both.
double exposed(OfRank& of) {
  std::sort(of.compute.begin(), of.compute.end());
  std::sort(of.communication.begin(), of.communication.end());
  double sum = 0.0, counted_to = 0.0;
  auto compute = of.compute.begin();
  for (const auto& [start, end] : of.communication) {
    double now = std::max(start, counted_to);
    counted_to = std::max(counted_to, end);
    while (now < end) {
      while (compute != of.compute.end() && compute->second <= now) ++compute;
      const bool ends_free = compute == of.compute.end() || compute->first >= end;
      const double until = ends_free ? end : std::max(now, compute->first);
      sum += until - now;
      now = ends_free ? end : compute->second;
    }
  }
  return sum;
}

}  // namespace

bool is_product(OpCode op) { return std::find(std::begin(kProducts), std::end(kProducts), op) != std::end(kProducts); }

Activities activities(const Trace& trace) {
  CHECK(!trace.steps.empty() && trace.header.num_ranks > 0, trace.steps.size(), trace.header.num_ranks);
  const Spans& spans = trace.spans;
  std::map<std::pair<std::int32_t, std::int32_t>, OfRank> by_rank;  // and step
  Activities sum;
  const auto count_of = [&](std::int32_t rank) {
    const auto represents = trace.header.represents.find(rank);
    return static_cast<double>(represents == trace.header.represents.end() ? 1 : represents->second);
  };
  for (std::size_t i = 0; i < spans.size(); ++i) {
    OfRank& of = by_rank[{spans.rank()[i], spans.step()[i]}];
    const Interval interval{spans.start()[i], spans.end()[i]};
    if (spans.queue()[i] != Queue::compute) {
      of.communication.push_back(interval);
      continue;
    }
    of.compute.push_back(interval);
    (is_product(spans.key()[i].op) ? sum.products : sum.streaming) +=
        seconds(interval.second - interval.first) * count_of(spans.rank()[i]);
  }
  for (auto& [rank, of] : by_rank) sum.communication += seconds(exposed(of)) * count_of(rank.first);
  const double devices = static_cast<double>(trace.header.num_ranks) * static_cast<double>(trace.steps.size());
  return {.products = sum.products / devices,
          .streaming = sum.streaming / devices,
          .communication = sum.communication / devices};
}

}  // namespace orrery
