// SPDX-License-Identifier: Apache-2.0
// Least times of slots for all strategies that share their operators: everything that decides what a layer does and how
// large it is (degrees but pp, micro-batch, dispatcher, overlaps within a slot), and nothing of how layers are laid on
// stages, in which order slots run or how states are sharded. One table serves thousands of strategies, which is what
// makes a search fast; that the times are least is what makes it provable (costmodel/lower_bound.h).
#pragma once

#include "costmodel/activation_memory.h"
#include "costmodel/closed_timer.h"
#include "costmodel/stage_blocks.h"
#include "program/mesh.h"
#include "program/model.h"
#include "program/step_program.h"

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

namespace orrery::planner {

class OperatorTable {
 public:
  /// Of `strategy` as if it had one pipeline rank, which stands for all: groups of the first ranks are as compact as
  /// any; `densest` as in FamilyContext. `pieces`: those of other tables with the same model, batch and cost model.
  /// `aim`: a bound. `model`, `cost`, `densest` and `pieces` must outlive it. Not thread-safe.
  OperatorTable(const Model& model, const Strategy& strategy, const BatchShape& batch, std::int64_t num_devices,
                const costmodel::CostModel& cost, std::span<const DeviceIndex> densest = {},
                costmodel::PieceTimes* pieces = nullptr,
                costmodel::StageBlocks::Aim aim = costmodel::StageBlocks::Aim::bound);
  OperatorTable(const OperatorTable&) = delete;
  OperatorTable& operator=(const OperatorTable&) = delete;

  /// Least times of the slots of a stage, without its message.
  const costmodel::Slots& slots(const StageLayout& layout);

  /// Activations of ranks, with the sharding and the offload of `strategy`.
  costmodel::ActivationPeaks& activations(const Strategy& strategy, const Mesh& mesh,
                                          const costmodel::MemoryModel& memory_model);

  /// Whether any of the slots that were asked for waits for the host.
  bool waits_for_host() const { return waits_for_host_; }

  /// At least what a micro-batch takes in all stages together, exchanges hidden where a pair could hide them.
  Seconds all_stages(bool pairs);

 private:
  costmodel::Slots slots_of(const StageLayout& layout);
  std::int64_t num_moe(std::int64_t first, std::int64_t last) const;
  /// What a stage consists of, as numbers: stages with the same ones take the same.
  using Key = std::array<std::int32_t, 8>;
  Key key_of(const StageLayout& layout) const;

  const Model& model_;
  const Strategy strategy_;
  const BatchShape batch_;
  const Mesh mesh_;
  costmodel::ClosedTimer timer_;
  costmodel::StageBlocks blocks_;
  struct Hash {
    std::size_t operator()(const Key& key) const;
  };
  std::vector<std::int64_t> num_moe_before_;  // by layer
  std::unordered_map<Key, costmodel::Slots, Hash> slots_;
  std::optional<costmodel::Slots> all_;  // of one stage with everything
  bool waits_for_host_ = false;
  std::map<std::array<int, 5>, costmodel::ActivationPeaks> activations_;
};

/// The operators of a strategy: equal for all that can share a table.
Strategy operators_of(const Strategy& strategy);

}  // namespace orrery::planner
