// SPDX-License-Identifier: Apache-2.0
// The tensors of a program that are alive on this rank: index in, memory out.
#pragma once

#include "executor/kernels/matrix.h"
#include "executor/runtime/arena.h"
#include "executor/runtime/routing.h"
#include "program/step_program.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <tuple>
#include <vector>

namespace orrery::executor {

class TensorStore {
 public:
  explicit TensorStore(const RankClass& rank_class) : rank_class_(rank_class), places_(rank_class.tensors.size()) {}

  /// Gives memory to a tensor. `arrived`: rows that routers send here in its layer and micro-batch.
  void create(TensorIndex tensor, const ArrivedCounts& arrived);
  void release(TensorIndex tensor);

  /// The tensor of a role in a layer and micro-batch that is alive, whoever uses it. Requires: there is one.
  TensorIndex alive(TensorRole role, std::int64_t layer, std::int64_t micro_batch) const;

  /// Requires: alive, f32 or bf16.
  Matrix matrix(TensorIndex tensor) const;
  /// The elements of a tensor of any type. Requires: alive; T has the size of its elements.
  template <class T>
  std::span<T> elements(TensorIndex tensor) const {
    const Place& place = places_[tensor];
    const std::int64_t count = place.bytes / static_cast<std::int64_t>(sizeof(T));
    return {reinterpret_cast<T*>(place.first), static_cast<std::size_t>(count)};
  }

  const Arena& arena() const { return arena_; }
  /// Bytes of each role when the arena held most.
  const std::array<std::int64_t, kNumTensorRoles>& fullest() const { return fullest_; }

 private:
  struct Place {
    std::byte* first = nullptr;
    std::int64_t rows = 0, bytes = 0;
  };
  const RankClass& rank_class_;
  std::vector<Place> places_;  // by tensor; null: not alive
  /// Indices of living tensors by role, layer and micro-batch; of two, the later one.
  std::map<std::tuple<TensorRole, std::int16_t, std::int32_t>, TensorIndex> alive_;
  Arena arena_;
  std::array<std::int64_t, kNumTensorRoles> live_{}, fullest_{};  // bytes by role
};

}  // namespace orrery::executor
