// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/executor/runtime/covering_layouts.h"

#include "base/check.h"
#include "program/legality.h"

#include <set>
#include <string_view>

#include <fmt/format.h>

namespace orrery::executor::testing {
namespace {

constexpr Schedule kSchedules[] = {Schedule::gpipe, Schedule::one_f_one_b, Schedule::interleaved, Schedule::zb_h1,
                                   Schedule::zb_h2, Schedule::zbv,         Schedule::dualpipe,    Schedule::dualpipev};
constexpr std::int64_t kExperts[] = {1, 2, 4};
const std::vector<std::set<RecomputeModule>> kRecompute = {
    {}, {RecomputeModule::full}, {RecomputeModule::moe}, {RecomputeModule::core_attn, RecomputeModule::layernorm}};
const std::vector<std::size_t> kSizes = {2, 2, 3, 2, 2, 4, 4, 8, 4, 3, 2, 5};

}  // namespace

const std::vector<std::string>& layout_factors() {
  static const std::vector<std::string> names = {"tp",        "cp",         "ep",          "etp",
                                                 "pp",        "zero dense", "zero expert", "schedule",
                                                 "recompute", "dispatcher", "type",        "family"};
  return names;
}

std::optional<Layout> layout_of(const Row& row, std::span<const Model> models, const BatchShape& batch,
                                std::int64_t most_ranks) {
  Layout out{.strategy = {}, .model = row[11]};
  const Model& model = models[out.model];
  Strategy& s = out.strategy;
  s.tp = 1 + static_cast<std::int64_t>(row[0]);
  s.sp = s.tp > 1;
  s.cp = 1 + static_cast<std::int64_t>(row[1]);
  // The three kinds of context parallelism take turns over rows.
  s.cp_kind = model.spans.empty() ? static_cast<ContextParallel>((row[7] + row[8] + row[9]) % 3)
                                  : static_cast<ContextParallel>(1 + (row[7] + row[8]) % 2);
  s.ep = kExperts[row[2]];
  s.etp = 1 + static_cast<std::int64_t>(row[3]);
  s.pp = 1 + static_cast<std::int64_t>(row[4]);
  s.zero_dense = static_cast<int>(row[5]);
  s.zero_expert = static_cast<int>(row[6]);
  s.schedule = kSchedules[row[7]];
  const bool two_stages =
      s.schedule == Schedule::interleaved || s.schedule == Schedule::zbv || s.schedule == Schedule::dualpipev;
  s.vpp = two_stages ? 2 : 1;
  s.dispatcher = static_cast<Dispatcher>(row[9]);
  s.precision = row[10] == 0 ? DType::f32 : DType::bf16;
  s.mtp = model.num_mtp_modules > 0 ? Mtp::on : Mtp::off;
  s.stages = with_mtp(even_stages(model.num_layers(), s.num_stages()), model.num_mtp_modules);
  for (StageLayout& stage : s.stages) stage.recompute = kRecompute[row[8]];
  const bool shards = s.zero_dense + s.zero_expert > 0;
  for (std::int64_t world = 2; world <= most_ranks; world *= 2) {
    if (!violations(model, s, batch, world).empty()) continue;
    const Mesh mesh(s, world);
    if (shards && world < most_ranks && (mesh.size(Group::dp) == 1 || mesh.size(Group::edp) == 1)) continue;
    out.world = world;
    return out;
  }
  return std::nullopt;
}

std::string Layout::text(std::span<const Model> models) const {
  constexpr std::string_view kKinds[] = {"ring", "gather", "ulysses"}, kDispatchers[] = {"a2a", "gather", "2level"};
  std::string recompute;
  for (const RecomputeModule module : strategy.stages[0].recompute) recompute += fmt::format("{} ", name_of(module));
  return fmt::format("{} ranks  tp{} cp{}{} ep{} etp{} pp{} zero {}/{}  {:11} {:6} {:4} {:11} {}", world, strategy.tp,
                     strategy.cp,
                     strategy.cp > 1 ? fmt::format(" {}", kKinds[static_cast<std::size_t>(strategy.cp_kind)]) : "",
                     strategy.ep, strategy.etp, strategy.pp, strategy.zero_dense, strategy.zero_expert,
                     name_of(strategy.schedule), kDispatchers[static_cast<std::size_t>(strategy.dispatcher)],
                     name_of(strategy.precision), models[model].family, recompute);
}

CoveringArray array_of_layouts(std::span<const Model> models, const BatchShape& batch, std::int64_t most_ranks) {
  CHECK(models.size() == kSizes.back(), models.size());
  return covering_array(kSizes, [&](const Row& row) { return layout_of(row, models, batch, most_ranks).has_value(); });
}

}  // namespace orrery::executor::testing
