// SPDX-License-Identifier: Apache-2.0
#include "sim/memory_need.h"

#include "base/errors.h"
#include "tests/conformance/programs.h"
#include "tests/unit/base/test_folder.h"

#include <cmath>
#include <fstream>
#include <vector>

#include <gtest/gtest.h>

namespace orrery::sim {
namespace {

using orrery::testing::ProgramBuilder;
using orrery::testing::small_cluster;

TEST(MemoryNeed, GrowsWithTheRanksThatAreSimulatedAndWithSpans) {
  ProgramBuilder builder(2, 4, 4);
  for (const std::int64_t stage : {0, 1}) builder.dispatch(stage, 4, 1000);
  const Cluster cluster = small_cluster(8, 1);
  const auto needed = [&](const RunInput& input, const Fidelities& fidelities = {}) {
    return memory_needed(builder.program(), cluster, {}, input, fidelities).in(unit::byte);
  };
  const double folded = needed({});
  EXPECT_EQ(folded, 2 * 260.0);  // an op on each of two ranks
  EXPECT_EQ(needed({.all_ranks = true}), 4 * folded);
  EXPECT_EQ(needed({.steps_only = true}), 2 * 40.0);
  EXPECT_EQ(needed({.all_ranks = true}, Fidelity::l3), 4 * folded + 8 * 4 * 70.0);  // eight ranks, four peers each
}

TEST(MemoryNeed, CountsThePairsOfEachSizeAndOfRingsTwoForEachMember) {
  const auto pairs = [](const std::vector<std::int64_t>& row_bytes, bool ring) {
    ProgramBuilder builder(1, 8, 8);
    for (const std::int64_t size : row_bytes) builder.dispatch(0, 8, size);
    if (ring) builder.all_reduce(0, Queue::world, Group::world, 1000);
    const RunInput input{.all_ranks = true, .steps_only = true};
    const auto needed = [&](const Fidelities& fidelities) {
      return memory_needed(builder.program(), small_cluster(8, 1), {}, input, fidelities).in(unit::byte);
    };
    return (needed(Fidelity::l3) - needed(Fidelity::l1)) / 70.0;
  };
  EXPECT_EQ(pairs({1000}, false), 64.0);
  EXPECT_EQ(pairs({1000, 1000}, false), 64.0);  // the second are the first
  EXPECT_EQ(pairs({1000, 2000}, false), 128.0);
  EXPECT_EQ(pairs({1000}, true), 64.0 + 16.0);
}

TEST(MemoryNeed, CountsThePairsThatHaveRoutes) {
  ProgramBuilder builder(1, 8, 8);
  builder.dispatch(0, 8, 1000);
  Cluster cluster = small_cluster(4, 2);
  const auto routes = [&](const Fidelities& fidelities, bool hashed) {
    const auto needed = [&](bool with) {
      return memory_needed(builder.program(), cluster, {}, {.all_ranks = true}, fidelities, with).in(unit::byte);
    };
    Cluster star = cluster;
    star.fabric = {.kind = FabricKind::rail_leaf_spine};
    const double without = memory_needed(builder.program(), star, {}, {.all_ranks = true}, fidelities).in(unit::byte);
    return (needed(hashed) - without) / 4000.0;
  };
  EXPECT_EQ(routes(Fidelity::l2, false), 0.0);
  EXPECT_EQ(routes(Fidelity::l2, true), 8 * 8);  // NICs
  EXPECT_EQ(routes(Fidelity::l1, true), 0.0);
  cluster.fabric = {.kind = FabricKind::torus, .dimensions = {4}};
  EXPECT_EQ(routes(Fidelity::l2, false), 2 * 4 * 4);  // nodes, either way round
  EXPECT_EQ(routes(Fidelity::l3, false), 2 * 8 * 8);
}

TEST(MemoryNeed, IsHeldAgainstTheLimitsOfControlGroups) {
  const orrery::testing::TestFolder folder;
  const std::filesystem::path& dir = folder.path();
  const auto write = [&](const std::string& name, const std::string& text) {
    std::filesystem::create_directories((dir / name).parent_path());
    std::ofstream(dir / name) << text;
  };
  const auto available = [&] {
    return memory_available({.meminfo = dir / "meminfo", .own_cgroup = dir / "own", .cgroups = dir / "fs"})
        .in(unit::byte);
  };
  write("meminfo", "MemAvailable: 1000 kB\n");
  write("own", "0::/job/step\n");
  EXPECT_EQ(available(), 1024000.0);
  write("fs/job/step/memory.max", "max\n");
  write("fs/job/step/memory.current", "300000\n");
  EXPECT_EQ(available(), 1024000.0);  // no limit
  write("fs/job/memory.max", "900000\n");
  write("fs/job/memory.current", "400000\n");
  EXPECT_EQ(available(), 500000.0);  // of the group around
  write("fs/job/memory.stat", "anon 200000\ninactive_file 150000\n");
  EXPECT_EQ(available(), 650000.0);  // files that are cached give way
  write("fs/job/step/memory.max", "310000\n");
  EXPECT_EQ(available(), 10000.0);
  write("fs/job/step/memory.max", "200000\n");
  EXPECT_EQ(available(), 0.0);
  write("own", "3:cpu:/x\n9:memory:/old\n");
  write("fs/memory/old/memory.limit_in_bytes", "70000\n");
  write("fs/memory/old/memory.usage_in_bytes", "50000\n");
  EXPECT_EQ(available(), 20000.0);
}

TEST(TimeNeed, IsThatOfExchangesInPairsOfDevicesWhoseSizesDiffer) {
  ProgramBuilder builder(1, 64, 64, 64);
  for (int i = 0; i < 10; ++i) builder.dispatch(0, 64, 1000);
  const auto needed = [&](const LoadModel& load, Fidelity fidelity) {
    return exchange_time_needed(builder.program(), {.load = load}, fidelity).in(unit::second);
  };
  EXPECT_NEAR(needed(ZipfLoad{}, Fidelity::l3), 10 * 0.12, 0.1);  // 64 x 64 flows each time
  EXPECT_EQ(needed(ZipfLoad{}, Fidelity::l2), 0.0);
  EXPECT_EQ(needed(BalancedLoad{}, Fidelity::l3), 0.0);
}

TEST(MemoryNeed, IsHeldAgainstWhatTheMachineSays) {
  const auto path = orrery::testing::own_path("meminfo");
  std::ofstream(path) << "MemTotal:       16384 kB\nMemAvailable:    2048 kB\nHugePages_Total:       0\n";
  const std::string none = "no/such/file";
  EXPECT_EQ(memory_available({.meminfo = path, .own_cgroup = none}), 2.0 * unit::mebibyte);
  EXPECT_TRUE(std::isinf(memory_available({.meminfo = none, .own_cgroup = none}).in(unit::byte)));
  EXPECT_NO_THROW(require_memory(gib(2), gib(2)));
  try {
    require_memory(gib(3), gib(2));
    FAIL() << "expected a ConfigError";
  } catch (const ConfigError& error) {
    EXPECT_STREQ(error.what(),
                 "the simulation would need about 3.00 GiB of memory, and this machine has 2.00 GiB left\n"
                 "  hint: it is small while one rank stands for all that do the same: with a balanced load, without "
                 "--all-ranks or --all-replicas; fewer micro-batches also help");
  }
}

}  // namespace
}  // namespace orrery::sim
