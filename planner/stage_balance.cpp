// SPDX-License-Identifier: Apache-2.0
#include "planner/stage_balance.h"

#include "base/check.h"

#include <algorithm>
#include <limits>
#include <optional>

namespace orrery::planner {
namespace {

Seconds time_of(const costmodel::SlotTimes& slots) { return slots.forward + slots.backward(); }

}  // namespace

// least[s][i]: of the layers from i on, on stages from s on, the smallest largest sum. Ends may have no layers.
std::vector<std::int64_t> balanced_counts(std::span<const Seconds> layers, Seconds first, Seconds last,
                                          std::int64_t num_stages) {
  const auto n = static_cast<std::int64_t>(layers.size());
  CHECK(num_stages >= 1 && n >= 1 && num_stages <= most_stages(n), num_stages, n);
  const Seconds infinity = Seconds::from_si(std::numeric_limits<double>::infinity());
  const auto at = [n](std::int64_t stage, std::int64_t layer) {
    return static_cast<std::size_t>(stage * (n + 1) + layer);
  };
  std::vector<Seconds> least(static_cast<std::size_t>((num_stages + 1) * (n + 1)), infinity);
  std::vector<std::int64_t> best(least.size());
  least[at(num_stages, n)] = Seconds();
  for (std::int64_t stage = num_stages - 1; stage >= 0; --stage) {
    const bool is_end = stage == 0 || stage + 1 == num_stages;
    for (std::int64_t layer = 0; layer <= n; ++layer) {
      Seconds sum = (stage == 0 ? first : Seconds()) + (stage + 1 == num_stages ? last : Seconds());
      for (std::int64_t end = is_end ? layer : layer + 1; end <= n; ++end) {
        if (end > layer) sum += layers[static_cast<std::size_t>(end - 1)];
        const Seconds largest = std::max(sum, least[at(stage + 1, end)]);
        if (largest < least[at(stage, layer)]) {
          least[at(stage, layer)] = largest;
          best[at(stage, layer)] = end;
        }
      }
      if (stage == 0) break;
    }
  }
  std::vector<std::int64_t> counts;
  for (std::int64_t stage = 0, layer = 0; stage < num_stages; ++stage) {
    const std::int64_t end = best[at(stage, layer)];
    counts.push_back(end - layer);
    layer = end;
  }
  return counts;
}

std::vector<StageLayout> stages_in_equal_time(const Model& model, const Strategy& strategy, OperatorTable& table) {
  const std::int64_t num_layers = model.num_layers(), num_stages = strategy.num_stages();
  if (num_stages > most_stages(num_layers)) return {};
  std::vector<Seconds> times;
  for (std::int64_t layer = 0; layer < num_layers; ++layer) {
    times.push_back(time_of(table.slots({.first_layer = layer, .num_layers = 1}).times));
  }
  const std::int64_t num_mtp = strategy.mtp == Mtp::on ? model.num_mtp_modules : 0;
  const Seconds first = time_of(table.slots({.embedding = true}).times);
  const Seconds last = time_of(table.slots({.first_layer = num_layers, .head = true, .num_mtp = num_mtp}).times);
  std::vector<StageLayout> stages = stages_of_counts(balanced_counts(times, first, last, num_stages));
  stages.back().num_mtp = num_mtp;
  return stages;
}

}  // namespace orrery::planner
