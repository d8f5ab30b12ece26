// SPDX-License-Identifier: Apache-2.0
// Max-min fairness by progressive filling (Bertsekas and Gallager, Data Networks, 2nd ed., 6.5.2): all flows speed up
// together, each as fast as it weighs; when a link is full its flows keep the rate that they have, and the others go
// on. Written from the definition, for tests: it shares nothing with sim/ or SimGrid, and is as slow as it is simple.
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <string>
#include <vector>

namespace orrery::testing {

/// A flow that begins at `start` and has `size` to move over `links`, all at once. Any consistent units.
struct FairFlow {
  std::vector<std::size_t> links;
  double size = 0.0;
  double start = 0.0;
  double weight = 1.0;
};

/// Rates of `flows` while those in `active` are under way.
inline std::vector<double> fair_rates(const std::vector<double>& capacities, const std::vector<FairFlow>& flows,
                                      const std::vector<bool>& active) {
  std::vector<double> rates(flows.size(), 0.0);
  std::vector<double> left = capacities;
  std::vector<bool> rises = active;
  while (std::find(rises.begin(), rises.end(), true) != rises.end()) {
    std::vector<double> num_rising(capacities.size(), 0.0);
    for (std::size_t i = 0; i < flows.size(); ++i) {
      if (!rises[i]) continue;
      for (const std::size_t link : flows[i].links) num_rising[link] += flows[i].weight;
    }
    double step = std::numeric_limits<double>::infinity();
    std::size_t full = 0;
    for (std::size_t link = 0; link < left.size(); ++link) {
      if (num_rising[link] > 0.0 && left[link] / num_rising[link] < step) {
        step = left[link] / num_rising[link];
        full = link;
      }
    }
    for (std::size_t link = 0; link < left.size(); ++link) left[link] -= step * num_rising[link];
    for (std::size_t i = 0; i < flows.size(); ++i) {
      if (!rises[i]) continue;
      rates[i] += step * flows[i].weight;
      const auto& links = flows[i].links;
      if (std::find(links.begin(), links.end(), full) != links.end()) rises[i] = false;
    }
  }
  return rates;
}

/// From `date` on a link has another capacity.
struct CapacityChange {
  double date = 0.0;
  std::size_t link = 0;
  double capacity = 0.0;
};

/// When each flow ends; whenever one begins or ends, or a link changes, all are shared again.
inline std::vector<double> fair_ends(std::vector<double> capacities, const std::vector<FairFlow>& flows,
                                     const std::vector<CapacityChange>& changes = {}) {
  std::vector<double> ends(flows.size(), -1.0), left;
  for (const FairFlow& flow : flows) left.push_back(flow.size);
  double now = 0.0;
  while (true) {
    std::vector<bool> active(flows.size());
    double next = std::numeric_limits<double>::infinity();
    for (std::size_t i = 0; i < flows.size(); ++i) {
      if (ends[i] >= 0.0) continue;
      active[i] = flows[i].start <= now;
      if (!active[i]) next = std::min(next, flows[i].start);
    }
    for (const CapacityChange& change : changes) {
      if (change.date <= now) capacities[change.link] = change.capacity;
      if (change.date > now) next = std::min(next, change.date);
    }
    const std::vector<double> rates = fair_rates(capacities, flows, active);
    for (std::size_t i = 0; i < flows.size(); ++i) {
      if (active[i] && rates[i] > 0.0) next = std::min(next, now + left[i] / rates[i]);
    }
    if (next == std::numeric_limits<double>::infinity()) return ends;
    for (std::size_t i = 0; i < flows.size(); ++i) {
      if (!active[i]) continue;
      left[i] -= rates[i] * (next - now);
      if (left[i] <= 1e-12 * flows[i].size) ends[i] = next;
    }
    now = next;
  }
}

}  // namespace orrery::testing
