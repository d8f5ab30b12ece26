// SPDX-License-Identifier: Apache-2.0
#include "executor/runtime/routing_replay.h"

#include "base/check.h"

#include <algorithm>
#include <vector>

#include <fmt/format.h>

namespace orrery::executor {
namespace {

/// Calls work(row of the call, token of the step): tokens are numbered sequence by sequence. With tensor parallelism a
/// rank has a part of each sequence (sequence parallelism), with context parallelism some positions.
template <class Work>
void for_each_token(const OpCall& call, Work&& work) {
  const RankState& rank = call.rank;
  const std::int64_t num_sequences = call.num_sequences();
  const std::int64_t first =
      (rank.view.coords.dp * rank.program.num_micro_batches + call.op.key.micro_batch) * num_sequences;
  const auto part = static_cast<std::int64_t>(rank.positions.size()) / rank.strategy().tp;
  for (std::int64_t i = 0; i < num_sequences; ++i) {
    for (std::int64_t j = 0; j < part; ++j) {
      const std::int64_t position = rank.positions[static_cast<std::size_t>(rank.view.coords.tp * part + j)];
      work(i * part + j, (first + i) * rank.seq() + position);
    }
  }
}

std::size_t num_choices(const RankState& rank) {
  return static_cast<std::size_t>(rank.program.batch.global_batch * rank.seq() * rank.model().moe->top_k);
}

}  // namespace

void take_choices(const OpCall& call, std::span<std::int32_t> chosen) {
  const std::int64_t k = call.rank.model().moe->top_k;
  const std::vector<std::int32_t>& all = call.rank.replayed->at(call.layer());
  CHECK(all.size() == num_choices(call.rank), call.layer(), all.size());
  for_each_token(call, [&](std::int64_t row, std::int64_t token) {
    std::copy_n(all.begin() + token * k, k, chosen.begin() + row * k);
  });
}

void note_choices(OpCall& call, std::span<const std::int32_t> chosen) {
  const std::int64_t k = call.rank.model().moe->top_k;
  std::vector<std::int32_t>& all = (*call.rank.recorded)[call.layer()];
  for_each_token(call, [&](std::int64_t row, std::int64_t token) {
    std::copy_n(chosen.begin() + row * k, k, all.begin() + token * k);
  });
}

void replay_routing(RankState& rank, const std::filesystem::path& folder) {
  rank.replayed = read_routing(routing_of_step(folder, rank.step), rank.program);
}

void record_routing(RankState& rank) {
  rank.recorded.emplace();
  for (const std::int64_t layer : routed_layers(rank.program)) (*rank.recorded)[layer].assign(num_choices(rank), -1);
}

/// Every token of a layer is one rank's, so a sum in which the others count 0 is what that rank has chosen.
void save_routing(RankState& rank, const std::filesystem::path& folder) {
  const std::int64_t step = rank.step - 1;
  const std::string key = fmt::format("routing of step {}", step);
  for (auto& [layer, experts] : *rank.recorded) {
    std::vector<std::int64_t> sum(experts.size());
    std::transform(experts.begin(), experts.end(), sum.begin(), [](std::int32_t expert) { return expert + 1; });
    rank.groups.world().all_reduce(std::span(sum), key);
    std::transform(sum.begin(), sum.end(), experts.begin(),
                   [](std::int64_t one_more) { return static_cast<std::int32_t>(one_more - 1); });
    CHECK(std::count(experts.begin(), experts.end(), -1) == 0, layer, step);
  }
  if (rank.view.rank.value() == 0) write_routing(routing_of_step(folder, step), rank.program, *rank.recorded);
}

}  // namespace orrery::executor
