// SPDX-License-Identifier: Apache-2.0
#include "planner/pipeline_choices.h"

#include "program/schedule.h"

#include <algorithm>
#include <iterator>

namespace orrery::planner {
namespace {

/// Whether a schedule can run its forwards and backwards in pairs because somebody wants it to.
bool can_pair(Schedule schedule) { return schedule == Schedule::one_f_one_b || schedule == Schedule::interleaved; }

/// Values of `vpp` that a schedule has an order for.
std::vector<std::int64_t> chunks_of(Schedule schedule, const std::vector<std::int64_t>& domain) {
  const bool folds = schedule == Schedule::zbv || schedule == Schedule::dualpipev;
  std::vector<std::int64_t> chunks;
  std::copy_if(domain.begin(), domain.end(), std::back_inserter(chunks), [&](std::int64_t v) {
    return folds ? v == 2 : schedule == Schedule::interleaved ? v > 1 : v == 1;
  });
  return chunks;
}

}  // namespace

Strategy PipelineChoice::of(const Strategy& operators) const {
  Strategy s = operators;
  s.schedule = schedule;
  s.overlap.ep_batch_level = pairs;
  s.pp = pp;
  s.vpp = vpp;
  return s;
}

std::vector<PipelineChoice> pipeline_choices(const FamilyContext& c, const Strategy& s) {
  std::vector<PipelineChoice> out;
  const bool searches_1f1b = std::ranges::find(c.domains.schedule, Schedule::one_f_one_b) != c.domains.schedule.end();
  for (const Schedule schedule : c.domains.schedule) {
    for (const int pairs : c.domains.ep_batch_level) {
      if (pairs != 0 && (s.ep == 1 || !can_pair(schedule))) continue;
      for (const std::int64_t pp : c.domains.pp) {
        // Alone, a pipeline rank has nobody whose waiting a better order would shorten.
        if (pp == 1 && (schedule != Schedule::one_f_one_b && schedule != Schedule::gpipe)) continue;
        const std::int64_t pipeline = s.tp * s.cp * pp;
        if (c.num_devices % pipeline != 0 || c.num_devices % (s.etp * s.ep * pp) != 0) continue;
        const std::int64_t sequences = c.num_devices / pipeline * s.micro_batch;  // of one micro-batch of all pipelines
        if (c.batch.global_batch % sequences != 0) continue;
        // One micro-batch has one order.
        const bool is_alone = c.batch.global_batch == sequences;
        if (is_alone && schedule == Schedule::gpipe && searches_1f1b) continue;
        for (const std::int64_t vpp : chunks_of(schedule, c.domains.vpp)) {
          const PipelineChoice choice{.schedule = schedule,
                                      .pairs = pairs != 0,
                                      .pp = pp,
                                      .vpp = vpp,
                                      .num_micro_batches = c.batch.global_batch / sequences};
          if (!schedule_problem(choice.of(s), choice.num_micro_batches)) out.push_back(choice);
        }
      }
    }
  }
  return out;
}

double micro_batches_per_stage(const FamilyContext& c, const Strategy& s) {
  return static_cast<double>(c.batch.global_batch) * static_cast<double>(s.tp * s.cp) /
         (static_cast<double>(c.num_devices) * static_cast<double>(s.micro_batch));
}

}  // namespace orrery::planner
