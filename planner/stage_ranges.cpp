// SPDX-License-Identifier: Apache-2.0
#include "planner/stage_ranges.h"

#include "program/counts.h"

#include <algorithm>

namespace orrery::planner {

Seconds time_of_stage(OperatorTable& table, const StageLayout& stage) {
  const costmodel::SlotTimes& times = table.slots(stage).times;
  return times.forward + times.backward();
}

StageRanges::StageRanges(const FamilyContext& context, Mtp mtp, OperatorTable& table)
    : c_(context),
      table_(table),
      num_layers_(context.model.num_layers()),
      num_mtp_(num_mtp_modules(context.model, mtp)) {
  const std::int64_t n = num_units();
  const auto is_alike = [&](std::int64_t a, std::int64_t b) {
    if (a == num_layers_ || b == num_layers_) return a == b;
    return context.model.kind(a) == context.model.kind(b) && context.model.span(a) == context.model.span(b);
  };
  alike_.assign(static_cast<std::size_t>((n + 1) * (n + 1)), 0);
  for (std::int64_t a = n - 1; a >= 0; --a) {
    for (std::int64_t b = n - 1; b >= 0; --b) {
      if (is_alike(a, b)) {
        alike_[static_cast<std::size_t>(a * (n + 1) + b)] =
            1 + alike_[static_cast<std::size_t>((a + 1) * (n + 1) + b + 1)];
      }
    }
  }
}

std::int64_t StageRanges::representative(std::int64_t first, std::int64_t end) const {
  const std::int64_t n = num_units();
  for (std::int64_t other = 0; other < first; ++other) {
    if (alike_[static_cast<std::size_t>(other * (n + 1) + first)] >= end - first) return other;
  }
  return first;
}

// Prediction modules are beside the head or behind all layers; with a tied embedding both hold a copy of it.
bool StageRanges::is_legal(std::int64_t first, std::int64_t end, Ends ends) const {
  const bool has_modules = num_mtp_ > 0 && first <= num_layers_ && end > num_layers_;
  return !has_modules || ends.head || !c_.model.tied_embeddings;
}

StageLayout StageRanges::layout(std::int64_t first, std::int64_t end, Ends ends) const {
  StageLayout stage{.embedding = ends.embedding, .head = ends.head};
  stage.first_layer = std::min(first, num_layers_);
  stage.num_layers = std::min(end, num_layers_) - stage.first_layer;
  stage.num_mtp = first <= num_layers_ && end > num_layers_ ? num_mtp_ : 0;
  return stage;
}

Seconds StageRanges::time(std::int64_t first, std::int64_t end, Ends ends, const std::set<RecomputeModule>& modules) {
  StageLayout stage = layout(first, end, ends);
  stage.recompute = modules;
  return time_of_stage(table_, stage);
}

const std::vector<StageRanges::Timed>& StageRanges::by_time(std::int64_t first, std::int64_t end, Ends ends) {
  const std::int64_t n = num_units() + 1;
  const std::int64_t kind = (ends.embedding ? 2 : 0) + (ends.head ? 1 : 0);
  const auto [found, is_new] = by_time_.try_emplace((kind * n + representative(first, end)) * n + end - first);
  std::vector<Timed>& choices = found->second;
  if (!is_new) return choices;
  for (std::size_t choice = 0; choice < c_.domains.recompute.size(); ++choice) {
    choices.push_back({.time = time(first, end, ends, c_.domains.recompute[choice]), .choice = choice});
  }
  std::stable_sort(choices.begin(), choices.end(), [](const Timed& a, const Timed& b) { return a.time < b.time; });
  return choices;
}

}  // namespace orrery::planner
