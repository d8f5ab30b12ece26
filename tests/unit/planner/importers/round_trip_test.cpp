// SPDX-License-Identifier: Apache-2.0
// What Megatron-LM is told of a plan, read back, is the plan; what is not was listed.
#include "planner/explain/dimensions.h"
#include "planner/importers/megatron_arguments.h"
#include "program/json_parts.h"
#include "tests/unit/planner/exporters/export_plan.h"
#include "tests/unit/planner/strategy_changes.h"
#include "tests/unit/program/random_strategies.h"

#include <algorithm>
#include <set>
#include <sstream>

#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

using testing::exported;
using testing::RandomCase;

/// A random case, moved towards what Megatron core can do: of every rule for another reason some are left alone.
std::optional<Plan> random_plan(std::uint64_t index) {
  std::optional<RandomCase> drawn = testing::random_case(index);
  if (!drawn) return std::nullopt;
  const CounterRng rng(7, index);
  Strategy& s = drawn->strategy;
  const bool interleaved = s.pp > 1 && drawn->model.num_layers() >= 2 * s.pp && rng.below(0, 2) == 0;
  s.schedule = interleaved ? Schedule::interleaved : Schedule::one_f_one_b;
  s.vpp = interleaved ? 2 : 1;
  const StageLayout first = s.stages.front();
  s.stages = even_stages(drawn->model.num_layers(), s.num_stages(), rng.below(1, 2) == 0, rng.below(2, 2) == 0);
  if (s.mtp == Mtp::on) s.stages = with_mtp(std::move(s.stages), 1);
  for (StageLayout& stage : s.stages) {
    stage.recompute = first.recompute;
    const bool some = first.recompute.contains(RecomputeModule::full) && first.num_recompute_layers;
    if (some && stage.num_layers > 1) stage.num_recompute_layers = 1;
  }
  if (drawn->model.moe) s.zero_expert = s.zero_dense;
  s.master_dtype = DType::f32;
  if (s.grad_dtype == DType::i64) s.grad_dtype = DType::f32;  // it has floats only
  s.grad_wire_dtype = s.grad_dtype;
  if (s.precision != DType::fp8) s.fp8_recipe = Strategy().fp8_recipe;
  s.cuda_graphs = rng.below(3, 4) == 0;
  drawn->batch.global_batch *= interleaved ? s.pp : 1;
  if (!violations(drawn->model, s, drawn->batch, drawn->num_devices).empty()) return std::nullopt;
  if (rng.below(4, 4) == 0) s.order = "tp-cp-ep-pp-dp";  // which nothing else here can run
  Plan plan;
  plan.model = drawn->model;
  plan.strategy = s;
  plan.batch = drawn->batch;
  plan.cluster = testing::small_cluster(1, drawn->num_devices);
  return plan;
}

/// The lines of strategy/1 that differ, as the top-level keys above them; stages and overlap with theirs.
std::set<std::string> differing_keys(const Strategy& a, const Strategy& b) {
  const auto text = [](const Strategy& s) {
    JsonWriter out;
    write_strategy(out, s);
    return out.text();
  };
  std::istringstream first(text(a)), second(text(b));
  std::set<std::string> keys;
  std::string left, right, object;
  while (std::getline(first, left) && std::getline(second, right)) {
    const std::size_t quote = left.find('"');
    if (quote == std::string::npos) continue;
    const std::string key = left.substr(quote + 1, left.find('"', quote + 1) - quote - 1);
    if (quote == 2) object = left.ends_with("{") || left.ends_with("[") ? key + "/" : "";
    if (left != right) keys.insert(object + key);
  }
  return keys;
}

/// Whether the arguments say nothing of the key, or something else. Other notes are on what is written.
bool is_lost(const ExportNote& note) {
  return note.text.starts_with("left out: ") || note.text.starts_with("written as ");
}

TEST(MegatronRoundTrip, GivesTheStrategyBackOrHasListedWhatItLoses) {
  const Strategy plain;
  std::set<std::string> turned;
  int num_written = 0, num_equal = 0, num_refused = 0;
  for (std::uint64_t index = 0; num_written < 1000; ++index) {
    const std::optional<Plan> plan = random_plan(index);
    if (!plan) continue;
    const Export found = exported("megatron", *plan);
    if (!found.refused.empty()) {
      ++num_refused;
      continue;
    }
    ++num_written;
    const StrategyMix mix(plain, plan->strategy);
    for (const StrategyDimension* one : mix.dimensions()) turned.insert(one->name);
    const MegatronJob job = read_megatron_arguments(found.text, "arguments.txt", plan->model);
    EXPECT_EQ(job.batch, plan->batch);
    EXPECT_TRUE(job.unknown.empty()) << index << ": " << job.unknown.front();
    if (job.strategy == plan->strategy) {
      ++num_equal;
      continue;
    }
    std::set<std::string> listed;
    for (const ExportNote& note : found.listed) {
      if (is_lost(note)) listed.insert(note.key);
    }
    const std::set<std::string> lost = differing_keys(plan->strategy, job.strategy);
    EXPECT_FALSE(lost.empty()) << index;
    for (const std::string& key : lost) EXPECT_TRUE(listed.contains(key)) << index << ": " << key << "\n" << found.text;
  }
  EXPECT_GE(num_equal, 650);
  // Every key of strategy/1 that Megatron core knows another value of.
  std::set<std::string> keys = testing::keys_of_strategy();
  for (const char* key : {"stages/first_layer", "stages/recompute", "stages/recompute_layers", "master_dtype"}) {
    EXPECT_EQ(keys.erase(key), 1U) << key;
  }
  keys.insert({"stages", "recompute"});
  EXPECT_EQ(turned, keys);
  RecordProperty("equal", num_equal);
  RecordProperty("refused", num_refused);
}

TEST(MegatronRoundTrip, GivesThePublishedLayoutOfDeepSeekV3Back) {
  Plan plan = testing::plan_to_export();
  plan.model.layers.assign(61, LayerKind::moe);
  Strategy& s = plan.strategy;
  s.pp = 16;
  s.vpp = 2;
  s.ep = 4;
  s.schedule = Schedule::interleaved;
  s.mtp = Mtp::on;
  s.stages = even_stages(61, 32);
  s.stages.back().num_mtp = 1;
  EXPECT_EQ(read_megatron_arguments(exported("megatron", plan).text, "arguments.txt", plan.model).strategy, s);
}

}  // namespace
}  // namespace orrery::planner
