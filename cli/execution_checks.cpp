// SPDX-License-Identifier: Apache-2.0
#include "cli/execution_checks.h"

#include "base/errors.h"
#include "base/units_format.h"
#include "costmodel/memory_record.h"
#include "executor/runtime/corpus.h"
#include "executor/runtime/rank_runtime.h"

#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace orrery::cli {

Bytes memory_of_ranks(const StepProgram& program, const LoadModel& load, const LocalRanks& local) {
  std::vector<RankId> ranks;
  for (std::int64_t i = 0; i < local.count; ++i) ranks.emplace_back(static_cast<std::int32_t>(local.first + i));
  // Under a load that is the same everywhere, ranks of one class need the same: one of each is enough.
  std::vector<std::int64_t> stands_for(ranks.size(), 1);
  if (is_balanced(load)) {
    std::vector<RankId> one_of_each;
    std::vector<std::int64_t> counts(program.classes.size());
    for (const RankId rank : ranks) {
      if (counts[program.view(rank).program_class.index()]++ == 0) one_of_each.push_back(rank);
    }
    ranks = std::move(one_of_each);
    stands_for.clear();
    for (const RankId rank : ranks) stands_for.push_back(counts[program.view(rank).program_class.index()]);
  }
  const std::vector<MemoryRecord> records = costmodel::memory_records(program, ranks, load);
  Bytes sum;
  for (std::size_t i = 0; i < records.size(); ++i) {
    Bytes of_rank = records[i].total();
    // What comes from the host for the update stays there, too.
    const auto loaded = records[i].tensors.find("optimizer_states");
    if (program.strategy.offload_optimizer && loaded != records[i].tensors.end()) of_rank += loaded->second;
    sum += of_rank * static_cast<double>(stands_for[i]);
  }
  return sum;
}

void check_executable(const std::string& plan_name, const Plan& plan, const StepProgram& program) {
  ProblemList problems;
  if (!is_fixed(plan.sequences)) {
    problems.add(
        {.file = plan_name,
         .message = fmt::format("expected sequences of one document each, got {}: the kernels attend over whole "
                                "sequences",
                                describe(plan.sequences))});
  }
  for (std::string& reason : executor::cpu_unsupported(program)) {
    problems.add({.file = plan_name, .message = std::move(reason)});
  }
  problems.throw_if_any();
}

void check_memory(Bytes needed, Bytes available, std::int64_t num_ranks) {
  if (needed <= available) return;
  throw ConfigError(fmt::format("the {} would need {} of memory, and this machine has {} left",
                                num_ranks == 1 ? "rank" : fmt::format("{} ranks here", num_ranks), needed, available),
                    "fewer ranks of the plan on each host: --nodes; or a plan that needs less: orrery fit PLAN");
}

void check_corpus(const StepProgram& program, const executor::TrainingSettings& settings) {
  const executor::Corpus readable(settings.corpus, program.model.vocab, program.batch.seq, settings.seed);
}

std::string note_of_shared_cores(std::int64_t num_ranks, std::int64_t num_cores) {
  if (num_ranks <= num_cores) return "";
  return fmt::format("{} ranks on {} core{}: they take turns, so times are not those of ranks with a core each",
                     num_ranks, num_cores, num_cores == 1 ? "" : "s");
}

}  // namespace orrery::cli
