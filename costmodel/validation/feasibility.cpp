// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/feasibility.h"

#include <map>
#include <utility>

namespace orrery::costmodel {

bool JudgedRun::fits(double with_fragmentation) const {
  return allocated + allocated * with_fragmentation + reserve <= device_memory;
}

bool JudgedRun::fits_if_recomputing(double with_fragmentation) const {
  return if_recomputing && *if_recomputing + *if_recomputing * with_fragmentation + reserve <= device_memory;
}

void Feasibility::count(const JudgedRun& run, double with_fragmentation) {
  const bool said_to_fit = run.fits(with_fragmentation);
  ++(run.out_of_memory ? num_failed : num_ran);
  if (run.out_of_memory && !said_to_fit) ++num_failed_as_said;
  if (run.out_of_memory && said_to_fit) failed_unlike_said.push_back(run.id);
  if (run.out_of_memory || said_to_fit) return;
  if (run.fits_if_recomputing(with_fragmentation)) {
    ++num_ran_if_recomputing;
  } else {
    ++num_ran_unlike_said;
    ran_unlike_said.push_back(run.id);
  }
}

std::optional<double> Feasibility::precision() const {
  const std::size_t said = num_failed_as_said + num_ran_unlike_said;
  if (said == 0) return std::nullopt;
  return static_cast<double>(num_failed_as_said) / static_cast<double>(said);
}

std::optional<double> Feasibility::recall() const {
  if (num_failed == 0) return std::nullopt;
  return static_cast<double>(num_failed_as_said) / static_cast<double>(num_failed);
}

std::vector<Feasibility> feasibility_of(const std::vector<JudgedRun>& runs) {
  std::map<std::pair<std::string, std::int64_t>, Feasibility> by_width;
  for (const JudgedRun& run : runs) {
    for (const std::int64_t hidden : {std::int64_t{0}, run.hidden}) {
      Feasibility& counts = by_width[{run.framework, hidden}];
      counts.framework = run.framework;
      counts.hidden = hidden;
      counts.count(run, run.fragmentation);
    }
  }
  std::vector<Feasibility> out;
  for (auto& [key, counts] : by_width) out.push_back(std::move(counts));
  return out;
}

}  // namespace orrery::costmodel
