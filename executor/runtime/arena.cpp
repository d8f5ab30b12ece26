// SPDX-License-Identifier: Apache-2.0
#include "executor/runtime/arena.h"

#include <algorithm>
#include <cstdlib>
#include <new>

namespace orrery::executor {
namespace {

constexpr std::int64_t kAlignment = 64;

/// Sizes that differ little share blocks: the rows of an expert change with every micro-batch.
std::int64_t rounded(std::int64_t bytes) {
  std::int64_t step = kAlignment;
  while (step * 16 < bytes) step *= 2;
  return (std::max<std::int64_t>(bytes, 1) + step - 1) / step * step;
}

}  // namespace

void Arena::Free::operator()(std::byte* block) const { std::free(block); }

std::byte* Arena::allocate(std::int64_t bytes) {
  live_ += bytes;
  peak_ = std::max(peak_, live_);
  std::vector<std::byte*>& blocks = free_[rounded(bytes)];
  if (!blocks.empty()) {
    std::byte* block = blocks.back();
    blocks.pop_back();
    return block;
  }
  void* memory = std::aligned_alloc(kAlignment, static_cast<std::size_t>(rounded(bytes)));
  if (memory == nullptr) throw std::bad_alloc();
  return blocks_.emplace_back(static_cast<std::byte*>(memory)).get();
}

void Arena::release(std::byte* block, std::int64_t bytes) {
  live_ -= bytes;
  free_[rounded(bytes)].push_back(block);
}

}  // namespace orrery::executor
