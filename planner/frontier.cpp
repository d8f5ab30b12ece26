// SPDX-License-Identifier: Apache-2.0
#include "planner/frontier.h"

namespace orrery::planner {

Frontier::Frontier(const std::vector<Seconds>& bounds) : pipelines_(bounds.size()) {
  for (std::size_t i = 0; i < bounds.size(); ++i) queue_.emplace(bounds[i], i, kWhole);
}

std::set<std::size_t> Frontier::operators_below(Seconds limit) const {
  std::set<std::size_t> operators;
  for (const auto& [bound, which, pipeline] : queue_) {
    if (bound >= limit) break;
    operators.insert(which);
  }
  return operators;
}

std::vector<std::size_t> Frontier::take_whole(Seconds limit, std::size_t most) {
  std::vector<std::size_t> out;
  if (queue_.empty() || std::get<2>(*queue_.begin()) != kWhole) return out;
  for (auto next = queue_.begin(); next != queue_.end() && std::get<0>(*next) < limit && out.size() < most;) {
    if (std::get<2>(*next) != kWhole) {
      ++next;
      continue;
    }
    out.push_back(std::get<1>(*next));
    next = queue_.erase(next);
  }
  return out;
}

void Frontier::put(std::size_t operators, const std::vector<BoundedPipeline>& pipelines, Seconds limit) {
  std::vector<PipelineChoice>& known = pipelines_[operators];
  for (const BoundedPipeline& pipeline : pipelines) {
    if (pipeline.bound >= limit) continue;
    queue_.emplace(pipeline.bound, operators, static_cast<std::ptrdiff_t>(known.size()));
    known.push_back(pipeline.choice);
  }
}

std::vector<Frontier::Entry> Frontier::take_pipelines(Seconds limit, std::size_t most) {
  std::vector<Entry> out;
  while (!queue_.empty() && out.size() < most) {
    const auto [bound, operators, pipeline] = *queue_.begin();
    if (bound >= limit || pipeline == kWhole) break;
    out.push_back({.operators = operators, .pipeline = pipelines_[operators][static_cast<std::size_t>(pipeline)]});
    queue_.erase(queue_.begin());
  }
  return out;
}

}  // namespace orrery::planner
