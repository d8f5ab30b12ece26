// SPDX-License-Identifier: Apache-2.0
#include "program/strategy.h"

#include "base/check.h"
#include "program/names.h"

#include <algorithm>

namespace orrery {
namespace {

// The stages strictly between first and last that should get a layer more, best first: late stages hold fewer
// micro-batches in 1F1B, so a layer costs least memory there. Then the first stage; the last, with the head, never.
std::vector<std::size_t> takers_of_extra_layers(std::size_t num_stages) {
  std::vector<std::size_t> takers;
  for (std::size_t stage = num_stages - 1; stage-- > 0;) takers.push_back(stage);
  return takers;
}

void move_to_middle(std::vector<std::int64_t>& counts, std::size_t from) {
  if (counts.size() < 3 || counts[from] < 2) return;
  std::size_t to = counts.size() - 2;
  for (std::size_t stage = to; stage > 0; --stage) {
    if (counts[stage] < counts[to]) to = stage;
  }
  --counts[from];
  ++counts[to];
}

}  // namespace

std::vector<StageLayout> stages_of_counts(std::span<const std::int64_t> counts) {
  CHECK(!counts.empty(), counts.size());
  std::vector<StageLayout> stages;
  std::int64_t first_layer = 0;
  for (const std::int64_t count : counts) {
    stages.push_back({.first_layer = first_layer, .num_layers = count});
    first_layer += count;
  }
  stages.front().embedding = stages.back().head = true;
  return stages;
}

std::vector<StageLayout> even_stages(std::int64_t num_layers, std::int64_t num_stages, bool fewer_first,
                                     bool fewer_last) {
  CHECK(num_stages >= 1 && num_layers >= 1 && num_stages <= most_stages(num_layers), num_layers, num_stages);
  const auto size = static_cast<std::size_t>(num_stages);
  std::vector<std::int64_t> counts(size, num_layers / num_stages);
  std::int64_t extra = num_layers % num_stages;
  for (const std::size_t stage : takers_of_extra_layers(size)) {
    if (extra-- <= 0) break;
    ++counts[stage];
  }
  if (fewer_first) move_to_middle(counts, 0);
  if (fewer_last) move_to_middle(counts, size - 1);
  return stages_of_counts(counts);
}

std::vector<StageLayout> with_mtp(std::vector<StageLayout> stages, std::int64_t num_modules) {
  for (StageLayout& stage : stages) stage.num_mtp = stage.head ? num_modules : 0;
  return stages;
}

std::string_view name_of(Schedule schedule) { return name_of(kScheduleNames, schedule); }
std::string_view name_of(RecomputeModule module) { return name_of(kRecomputeModuleNames, module); }

}  // namespace orrery
