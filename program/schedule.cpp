// SPDX-License-Identifier: Apache-2.0
#include "program/schedule.h"

#include "base/check.h"
#include "program/schedules/schedules.h"

namespace orrery {
namespace {

using SlotMaker = std::vector<Slot> (*)(const PipelineShape&, std::int64_t rank);

SlotMaker maker_of(Schedule schedule) {
  switch (schedule) {
    case Schedule::gpipe:
      return schedules::gpipe;
    case Schedule::one_f_one_b:
      return schedules::one_f_one_b;
    case Schedule::interleaved:
    case Schedule::zb_h1:
    case Schedule::zb_h2:
    case Schedule::zbv:
    case Schedule::dualpipe:
    case Schedule::dualpipev:
      return nullptr;
  }
  return nullptr;
}

}  // namespace

bool is_lowered(Schedule schedule) { return maker_of(schedule) != nullptr; }

std::vector<Slot> slots_of(Schedule schedule, const PipelineShape& shape, std::int64_t rank) {
  const SlotMaker make = maker_of(schedule);
  CHECK(make != nullptr, static_cast<int>(schedule));
  CHECK(rank >= 0 && rank < shape.num_ranks, rank, shape.num_ranks);
  return make(shape, rank);
}

}  // namespace orrery
