// SPDX-License-Identifier: Apache-2.0
#include "traces/activities.h"

#include "base/check.h"

#include <algorithm>
#include <array>
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

constexpr std::array<bool, kNumOpCodes> kIsProduct = [] {
  std::array<bool, kNumOpCodes> is_product{};
  for (const OpCode op : kProducts) is_product[static_cast<std::size_t>(op)] = true;
  return is_product;
}();

/// Seconds from begin to end, of one rank and step.
using Interval = std::pair<double, double>;

struct OfRank {
  std::array<std::vector<Interval>, kNumQueues> on_queue;
};

/// Of a queue, which runs in order, so that they mostly are sorted already.
void sort(std::vector<Interval>& intervals) {
  if (!std::is_sorted(intervals.begin(), intervals.end())) std::sort(intervals.begin(), intervals.end());
}

/// Those of all queues but compute, sorted.
std::vector<Interval> communication(OfRank& of) {
  std::vector<Interval> all;
  for (std::size_t queue = 0; queue < of.on_queue.size(); ++queue) {
    if (queue == static_cast<std::size_t>(Queue::compute)) continue;
    sort(of.on_queue[queue]);
    const auto middle = static_cast<std::ptrdiff_t>(all.size());
    all.insert(all.end(), of.on_queue[queue].begin(), of.on_queue[queue].end());
    std::inplace_merge(all.begin(), all.begin() + middle, all.end());
  }
  return all;
}

/// How long some communication is on its way while nothing is computed. Sorts the queues.
double exposed(OfRank& of) {
  std::vector<Interval>& computes = of.on_queue[static_cast<std::size_t>(Queue::compute)];
  sort(computes);
  double sum = 0.0, counted_to = 0.0;
  auto compute = computes.begin();
  for (const auto& [start, end] : communication(of)) {
    double now = std::max(start, counted_to);
    counted_to = std::max(counted_to, end);
    while (now < end) {
      while (compute != computes.end() && compute->second <= now) ++compute;
      const bool ends_free = compute == computes.end() || compute->first >= end;
      const double until = ends_free ? end : std::max(now, compute->first);
      sum += until - now;
      now = ends_free ? end : compute->second;
    }
  }
  return sum;
}

}  // namespace

bool is_product(OpCode op) { return kIsProduct[static_cast<std::size_t>(op)]; }

void ActivityCount::add(const Trace& record, const Spans& spans) {
  std::map<std::pair<std::int32_t, std::int32_t>, OfRank> by_rank;  // and step
  std::pair<std::int32_t, std::int32_t> at;
  OfRank* of = nullptr;
  double count = 0.0;
  const auto count_of = [&](std::int32_t rank) {
    const auto represents = record.header.represents.find(rank);
    return static_cast<double>(represents == record.header.represents.end() ? 1 : represents->second);
  };
  for (std::size_t i = 0; i < spans.size(); ++i) {
    if (const std::pair here(spans.rank()[i], spans.step()[i]); of == nullptr || here != at) {
      at = here;
      of = &by_rank[at];
      count = count_of(at.first);
      steps_.insert(at.second);
    }
    const Interval interval{spans.start()[i], spans.end()[i]};
    of->on_queue[static_cast<std::size_t>(spans.queue()[i])].push_back(interval);
    if (spans.queue()[i] != Queue::compute) continue;
    const Seconds time = seconds(interval.second - interval.first) * count;
    busy_ += time;
    (is_product(spans.key()[i].op) ? sum_.products : sum_.streaming) += time;
  }
  for (auto& [rank, of_rank] : by_rank) {
    communication_[rank] += seconds(exposed(of_rank)) * count_of(rank.first);
  }
}

Activities ActivityCount::mean(const Trace& record) const {
  CHECK(!record.steps.empty() && record.header.num_ranks > 0, record.steps.size(), record.header.num_ranks);
  const double devices = static_cast<double>(record.header.num_ranks) * static_cast<double>(record.steps.size());
  Seconds communication;
  for (const auto& [rank, time] : communication_) communication += time;
  return {.products = sum_.products / devices,
          .streaming = sum_.streaming / devices,
          .communication = communication / devices};
}

double ActivityCount::utilisation(const Trace& record) const {
  Seconds available;
  for (const StepRecord& step : record.steps) {
    if (steps_.contains(step.step)) available += step.time * static_cast<double>(record.header.num_ranks);
  }
  return available > Seconds::zero() ? busy_ / available : 0.0;
}

Activities activities(const Trace& trace) {
  CHECK(!trace.steps.empty() && trace.header.num_ranks > 0, trace.steps.size(), trace.header.num_ranks);
  ActivityCount count;
  count.add(trace, trace.spans);
  return count.mean(trace);
}

double compute_utilisation(const Trace& trace) {
  ActivityCount count;
  count.add(trace, trace.spans);
  return count.utilisation(trace);
}

}  // namespace orrery
