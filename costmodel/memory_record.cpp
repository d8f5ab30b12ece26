// SPDX-License-Identifier: Apache-2.0
#include "costmodel/memory_record.h"

#include "costmodel/rank_states.h"
#include "program/arrivals.h"
#include "program/memory_replay.h"

#include <optional>

namespace orrery::costmodel {
namespace {

MemoryRecord record_of(RankId rank, const RankStates& states, const ReplayedPeak& peak) {
  MemoryRecord record{.rank = rank.value(),
                      .step = 0,
                      .weights = states.weights,
                      .gradients = states.gradients,
                      .optimizer = states.optimizer,
                      .tensors = {},
                      .resident = {}};
  for (int role = 0; role < kNumTensorRoles; ++role) {
    const double size = peak.by_role[static_cast<std::size_t>(role)];
    if (size > 0.0) record.tensors[std::string(name_of(static_cast<TensorRole>(role)))] = bytes(size);
  }
  return record;
}

}  // namespace

std::vector<MemoryRecord> memory_records(const StepProgram& program, std::span<const RankId> ranks,
                                         const LoadModel& load) {
  ElementCounts counts(program.model, program.strategy);
  std::vector<std::optional<RankStates>> of_class(program.classes.size());
  std::vector<MemoryRecord> records;
  for (const RankId rank : ranks) {
    const auto index = static_cast<std::size_t>(program.view(rank).program_class.value());
    std::optional<RankStates>& states = of_class[index];
    if (!states) states = states_of_class(program, index, counts);
    const std::vector<Arrivals> arrivals = arrivals_of(program, {&rank, 1}, load);
    records.push_back(record_of(rank, *states, replay_memory(program.classes[index], arrivals.front())));
  }
  return records;
}

}  // namespace orrery::costmodel
