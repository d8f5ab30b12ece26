// SPDX-License-Identifier: Apache-2.0
#include "executor/runtime/rank_state.h"

#include "base/errors.h"

#include <cmath>
#include <numeric>

#include <fmt/format.h>

namespace orrery::executor {
namespace {

std::int64_t rotated_width(const Attention& attention) {
  if (const auto* gqa = std::get_if<GroupedQueryAttention>(&attention)) {
    return gqa->rotary_dim > 0 ? gqa->rotary_dim : gqa->head_dim;
  }
  return std::get<MultiHeadLatentAttention>(attention).qk_rope_dim;
}

}  // namespace

void StepTotals::add_loss(double value) {
  if (!std::isfinite(value))
    throw BackendError(fmt::format("expected a finite loss, got {}: training diverges", value));
  loss += static_cast<Int128>(std::nearbyint(value / kLossUnit));
}

RankState::RankState(const StepProgram& the_program, RankId rank, Endpoint& endpoint,
                     const TrainingSettings& the_settings)
    : program(the_program),
      rank_class(the_program.class_of(rank)),
      view(the_program.view(rank)),
      settings(the_settings),
      gemm(choose_gemm(the_settings.gemm)),
      rope(the_program.batch.seq, rotated_width(the_program.model.attention), the_program.model.rope_theta),
      positions(zigzag_positions(the_program.batch.seq, the_program.strategy.cp, view.coords.cp)),
      weights(the_program, rank, the_settings),
      buckets{GradientBuckets(the_program, rank_class, weights.dense()),
              GradientBuckets(the_program, rank_class, weights.expert())},
      tensors(rank_class),
      groups(the_program, rank, endpoint),
      corpus(the_settings.corpus, the_program.model.vocab, the_program.batch.seq, the_settings.seed) {}

std::vector<std::int64_t> zigzag_positions(std::int64_t seq, std::int64_t cp, std::int64_t index) {
  std::vector<std::int64_t> positions(static_cast<std::size_t>(seq / cp));
  const std::int64_t chunk = seq / (2 * cp);
  const auto middle = positions.begin() + static_cast<std::ptrdiff_t>(cp == 1 ? seq : chunk);
  std::iota(positions.begin(), middle, cp == 1 ? 0 : index * chunk);
  std::iota(middle, positions.end(), (2 * cp - 1 - index) * chunk);
  return positions;
}

}  // namespace orrery::executor
