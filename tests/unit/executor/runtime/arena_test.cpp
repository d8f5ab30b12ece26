// SPDX-License-Identifier: Apache-2.0
#include "executor/runtime/arena.h"

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

TEST(Arena, CountsTheBytesThatWereAskedFor) {
  Arena arena;
  std::byte* a = arena.allocate(100);
  std::byte* b = arena.allocate(1);
  EXPECT_EQ(arena.live_bytes(), 101);
  arena.release(a, 100);
  std::byte* c = arena.allocate(50);
  EXPECT_EQ(arena.live_bytes(), 51);
  EXPECT_EQ(arena.peak_bytes(), 101);
  arena.release(b, 1);
  arena.release(c, 50);
  EXPECT_EQ(arena.live_bytes(), 0);
}

TEST(Arena, GivesAFreedBlockToTheNextOfItsSize) {
  Arena arena;
  std::byte* a = arena.allocate(4096);
  arena.release(a, 4096);
  std::byte* b = arena.allocate(4090);  // rounds to the same size
  EXPECT_EQ(a, b);
  arena.release(b, 4090);
}

TEST(Arena, AlignsForVectorsAndAcceptsEmptyTensors) {
  Arena arena;
  for (const std::int64_t bytes : {0, 1, 63, 65, 1000000}) {
    std::byte* block = arena.allocate(bytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block) % 64, 0U) << bytes;
    arena.release(block, bytes);
  }
}

}  // namespace
}  // namespace orrery::executor
