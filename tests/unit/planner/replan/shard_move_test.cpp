// SPDX-License-Identifier: Apache-2.0
#include "planner/replan/shard_move.h"

#include "base/rng.h"
#include "program/flat_buffer.h"
#include "tests/conformance/programs.h"
#include "tests/unit/program/random_strategies.h"

#include <initializer_list>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

using testing::small_moe;
using testing::small_strategy;

std::vector<DeviceIndex> devices(std::initializer_list<int> numbers) {
  std::vector<DeviceIndex> out;
  for (const int number : numbers) out.emplace_back(number);
  return out;
}

/// Elements that the optimizer of small_moe trains on `stages`.
double trained(const Model& model, const std::vector<StageLayout>& stages) {
  double elements = 0;
  for (const Parameter& p : rank_parameters(model, stages, 1, 0)) elements += static_cast<double>(p.size());
  return elements;
}

struct Case {
  Case(Model m, Strategy s, std::int64_t world, std::vector<bool> lost_ranks)
      : model(std::move(m)),
        cluster(testing::small_cluster(4, 2)),
        before(model, s, world),
        mover(cluster, before, first(world), lost_ranks) {}
  static std::vector<DeviceIndex> first(std::int64_t world) {
    std::vector<DeviceIndex> out;
    for (std::int32_t i = 0; i < world; ++i) out.emplace_back(i);
    return out;
  }

  Model model;
  Cluster cluster;
  Holdings before;
  ShardMover mover;
};

// bf16 weights, f32 masters, two f32 moments: 2, 4 and 8 bytes of an element.
TEST(ShardMove, OfTwoDataParallelRanksToOneTakesTheLostHalfOfTheStatesFromTheCheckpoint) {
  const Model model = small_moe();
  Strategy s = small_strategy(model);
  s.zero_dense = s.zero_expert = 1;
  const Case c(model, s, 2, {false, true});
  const double half = trained(model, s.stages) / 2;
  const StateBytes lost{.weights = {}, .masters = bytes(4 * half), .moments = bytes(8 * half)};
  EXPECT_EQ(c.mover.lost_alone(), lost);
  const ShardMove move = c.mover.move_to(Holdings(model, s, 1), devices({0}));
  EXPECT_EQ(move.from_checkpoint(), lost);
  EXPECT_EQ(move.received(), StateBytes());
}

TEST(ShardMove, OfWholeStatesIsNothing) {
  const Model model = small_moe();
  const Strategy s = small_strategy(model);
  const Case c(model, s, 2, {true, false});
  EXPECT_EQ(c.mover.lost_alone(), StateBytes());
  const ShardMove move = c.mover.move_to(Holdings(model, s, 1), devices({1}));
  EXPECT_EQ(move.from_checkpoint(), StateBytes());
  EXPECT_EQ(move.received(), StateBytes());
}

// Ranks 0 and 1 hold the first stage, 2 and 3 the second, of which 3 is lost: whoever takes its part gets all of it.
TEST(ShardMove, OfAStageToADeviceOfAnotherNodeCrossesTheNetwork) {
  const Model model = small_moe();
  const Strategy s = small_strategy(model, 2);
  const Case c(model, s, 4, {false, false, false, true});
  const Holdings after(model, s, 2);
  const ShardMove same = c.mover.move_to(after, devices({0, 2}));
  EXPECT_EQ(same.received(), StateBytes());
  const ShardMove other = c.mover.move_to(after, devices({0, 1}));
  const double second = trained(model, {s.stages[1]});
  const StateBytes expected{.weights = bytes(2 * second), .masters = bytes(4 * second), .moments = bytes(8 * second)};
  EXPECT_EQ(other.of_rank[1].outside, expected);
  EXPECT_EQ(other.of_rank[1].inside, StateBytes());
  EXPECT_EQ(other.of_rank[0].outside, StateBytes());
  EXPECT_EQ(other.busiest(), RankId(1));
  // The other way round the first stage comes from the neighbour in the node.
  const ShardMove swapped = c.mover.move_to(Holdings(model, s, 2), devices({2, 1}));
  EXPECT_EQ(swapped.of_rank[0].outside.total(), bytes(14 * trained(model, {s.stages[0]})));
}

TEST(ShardMove, OfAStageWhoseRanksAreAllLostComesFromTheCheckpoint) {
  const Model model = small_moe();
  const Strategy s = small_strategy(model, 2);
  const Case c(model, s, 2, {false, true});
  const double second = trained(model, {s.stages[1]});
  EXPECT_EQ(c.mover.lost_alone().total(), bytes(14 * second));
  const ShardMove move = c.mover.move_to(Holdings(model, small_strategy(model), 1), devices({0}));
  EXPECT_EQ(move.from_checkpoint().total(), bytes(14 * second));
  EXPECT_EQ(move.received(), StateBytes());
}

/// Which elements of the model each rank holds, one bit each: weights, then states.
class Elements {
 public:
  Elements(const Model& model, const Strategy& s, std::int64_t world) : mesh_(s, world) {
    for (std::int64_t rank = 0; rank < world; ++rank) add_rank(model, s, RankId(static_cast<std::int32_t>(rank)));
  }

  using Bits = std::map<std::string, std::vector<char>>;
  struct OnRank {
    Bits weights, states;
  };
  std::vector<OnRank> ranks;
  std::map<std::string, LocalParameter> parameters;

 private:
  void add_rank(const Model& model, const Strategy& s, RankId rank) {
    OnRank& on = ranks.emplace_back();
    std::vector<LocalParameter> by_kind[2];
    for (const LocalParameter& p : local_parameters(model, s, mesh_, rank)) {
      const std::string name = stored_name(p.whole, model.tied_embeddings);
      parameters.try_emplace(name, p);
      if (p.whole.buffer) {
        mark(on.weights, name, p, 0, p.size());
      } else {
        by_kind[p.whole.is_expert() ? 1 : 0].push_back(p);
      }
    }
    for (const bool expert : {false, true}) {
      const std::vector<LocalParameter>& all = by_kind[expert ? 1 : 0];
      const Group shard = expert ? Group::edp_shard : Group::dp_shard;
      const int zero = expert ? s.zero_expert : s.zero_dense;
      const std::vector<std::int64_t> order = cut_order(all);
      const ShardLayout layout(cut_weights(order, all), mesh_.size(shard));
      for (const OwnedRange& range : layout.of(mesh_.index_in_group(shard, rank))) {
        const LocalParameter& p = all[static_cast<std::size_t>(order[static_cast<std::size_t>(range.parameter)])];
        const std::string name = stored_name(p.whole, model.tied_embeddings);
        zero == 3 ? mark(on.weights, name, p, range.begin, range.count) : mark(on.weights, name, p, 0, p.size());
        zero > 0 ? mark(on.states, name, p, range.begin, range.count) : mark(on.states, name, p, 0, p.size());
      }
    }
  }

  static void mark(Bits& bits, const std::string& name, const LocalParameter& p, std::int64_t begin,
                   std::int64_t count) {
    std::vector<char>& of = bits[name];
    of.resize(static_cast<std::size_t>(p.whole.size()));
    std::int64_t element = 0;
    for (const Box& box : p.boxes) {
      for (std::int64_t i = 0; i < box.size(); ++i, ++element) {
        if (element < begin || element >= begin + count) continue;
        const std::int64_t row = box.row + i / box.cols, col = box.col + i % box.cols;
        of[static_cast<std::size_t>(row * p.whole.cols + col)] = 1;
      }
    }
  }

  Mesh mesh_;
};

StateBytes bytes_of(const Strategy& s, const LocalParameter& p, bool states) {
  if (p.whole.buffer) return {.weights = bytes(4)};
  if (!states) return {.weights = bytes(s.precision == DType::f32 ? 4 : 2)};
  const double master = has_master(s) ? static_cast<double>(size_of(s.master_dtype)) : 0.0;
  const double moment = static_cast<double>(size_of(s.moment_dtype));
  return {.masters = bytes(master), .moments = bytes(is_orthogonalised(p.whole, s) ? moment : 2 * moment)};
}

/// By rank, whether it holds each element of a weight; empty: none.
std::vector<std::vector<char>> holders(const Elements& elements, const std::string& name, bool states) {
  std::vector<std::vector<char>> out;
  for (const Elements::OnRank& on : elements.ranks) {
    const Elements::Bits& bits = states ? on.states : on.weights;
    const auto found = bits.find(name);
    out.push_back(found == bits.end() ? std::vector<char>() : found->second);
  }
  return out;
}

struct Pair {
  testing::RandomCase before, after;
};

/// Strategies of one model, with the types and the optimizer of the first.
std::vector<Pair> random_pairs(std::size_t count) {
  std::vector<Pair> pairs;
  std::map<std::string, testing::RandomCase> last;
  for (std::uint64_t index = 0; pairs.size() < count; ++index) {
    const auto drawn = testing::random_case(index);
    if (!drawn || drawn->num_devices > 16) continue;
    const Model& m = drawn->model;
    const std::string kind = std::to_string(m.num_layers()) + (m.moe ? "moe" : "") + (m.is_mla() ? "mla" : "") +
                             (m.moe && m.moe->shared_expert_gate ? "gate" : "") +
                             (drawn->strategy.mtp == Mtp::on ? "mtp" : "");
    const auto found = last.find(kind);
    if (found != last.end() && found->second.num_devices > drawn->num_devices) {
      testing::RandomCase after = *drawn;
      const Strategy& old = found->second.strategy;
      Strategy& s = after.strategy;
      s.precision = old.precision;
      s.fp8_recipe = old.fp8_recipe;
      s.optimizer = old.optimizer;
      s.master_dtype = old.master_dtype;
      s.moment_dtype = old.moment_dtype;
      if (violations(after.model, s, after.batch, after.num_devices).empty()) pairs.push_back({found->second, after});
    }
    last.insert_or_assign(kind, *drawn);
  }
  return pairs;
}

TEST(ShardMove, IsWhatCountingElementsSays) {
  std::int64_t num_moved = 0, num_lost = 0, num_inside = 0;
  for (const Pair& pair : random_pairs(60)) {
    const auto& [before, after] = pair;
    const CounterRng rng(11, static_cast<std::uint64_t>(num_moved));
    const auto world = static_cast<std::size_t>(before.num_devices);
    std::vector<bool> lost(world, false);
    for (std::size_t i = 0; world - i > static_cast<std::size_t>(after.num_devices) && i < 2; ++i) {
      lost[rng.below(i, world)] = true;
    }
    std::vector<DeviceIndex> old_devices, new_devices;
    for (std::size_t rank = 0; rank < world; ++rank) {
      old_devices.emplace_back(static_cast<std::int32_t>(rank));
      if (!lost[rank] && static_cast<std::int64_t>(new_devices.size()) < after.num_devices) {
        new_devices.emplace_back(static_cast<std::int32_t>(rank));
      }
    }
    ASSERT_EQ(static_cast<std::int64_t>(new_devices.size()), after.num_devices);
    const Cluster cluster = testing::small_cluster(8, 2);
    const Holdings old_held(before.model, before.strategy, before.num_devices);
    const Holdings new_held(before.model, after.strategy, after.num_devices);
    const ShardMover mover(cluster, old_held, old_devices, lost);
    const ShardMove move = mover.move_to(new_held, new_devices);

    const Elements old_elements(before.model, before.strategy, before.num_devices);
    const Elements new_elements(before.model, after.strategy, after.num_devices);
    StateBytes lost_alone;
    std::vector<RankMove> expected(new_devices.size());
    for (const auto& [name, p] : old_elements.parameters) {
      for (const bool states : {false, true}) {
        if (states && p.whole.buffer) continue;
        const StateBytes each = bytes_of(before.strategy, p, states);
        const auto old = holders(old_elements, name, states), needed = holders(new_elements, name, states);
        for (std::size_t element = 0; element < static_cast<std::size_t>(p.whole.size()); ++element) {
          const auto holds = [&](std::size_t rank) {
            return !lost[rank] && !old[rank].empty() && old[rank][element] != 0;
          };
          bool is_left = false;
          for (std::size_t rank = 0; rank < world; ++rank) is_left = is_left || holds(rank);
          if (!is_left) lost_alone += each;
          for (std::size_t rank = 0; rank < new_devices.size(); ++rank) {
            if (needed[rank].empty() || needed[rank][element] == 0) continue;
            const auto device = static_cast<std::size_t>(new_devices[rank].value());
            if (holds(device)) continue;
            RankMove& of_rank = expected[rank];
            (!is_left ? of_rank.from_checkpoint : holds(device ^ 1U) ? of_rank.inside : of_rank.outside) += each;
          }
        }
      }
    }
    EXPECT_EQ(mover.lost_alone(), lost_alone);
    for (std::size_t rank = 0; rank < expected.size(); ++rank) {
      EXPECT_EQ(move.of_rank[rank].inside, expected[rank].inside) << rank;
      EXPECT_EQ(move.of_rank[rank].outside, expected[rank].outside) << rank;
      EXPECT_EQ(move.of_rank[rank].from_checkpoint, expected[rank].from_checkpoint) << rank;
    }
    ++num_moved;
    if (lost_alone.total() > Bytes()) ++num_lost;
    if (move.of_rank.front().inside.total() > Bytes()) ++num_inside;
  }
  EXPECT_GE(num_lost, 10);
  EXPECT_GE(num_inside, 10);
}

}  // namespace
}  // namespace orrery::planner
