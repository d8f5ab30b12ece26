// SPDX-License-Identifier: Apache-2.0
#include "program/verify.h"

#include "program/verify/checks.h"

namespace orrery {

std::vector<std::string> verify(const StepProgram& program) {
  verify_checks::Problems problems;
  verify_checks::check_structure(program, problems);
  if (!problems.empty()) return std::move(problems).take();
  verify_checks::check_passes(program, problems);
  for (const RankClass& rank_class : program.classes) verify_checks::check_tensors(rank_class, problems);
  verify_checks::check_meetings(program, problems);
  return std::move(problems).take();
}

}  // namespace orrery
