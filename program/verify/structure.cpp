// SPDX-License-Identifier: Apache-2.0
#include "program/program_text.h"
#include "program/verify/checks.h"

#include <algorithm>
#include <cstdint>

#include <fmt/format.h>

namespace orrery::verify_checks {
namespace {

using QueueSet = std::uint32_t;  // bit q: Queue q
static_assert(kNumQueues <= 32);

template <class... Queues>
constexpr QueueSet set_of(Queues... queues) {
  return ((QueueSet{1} << static_cast<int>(queues)) | ...);
}

/// Queues that may carry a collective of `group`: its communicator's.
QueueSet queues_of(Group group) {
  switch (group) {
    case Group::tp:
      return set_of(Queue::tp);
    case Group::cp:
      return set_of(Queue::cp);
    case Group::dp:
    case Group::dp_shard:
    case Group::dp_replica:
      return set_of(Queue::dp);
    case Group::ep:
      return set_of(Queue::ep);
    case Group::etp:
      return set_of(Queue::etp);
    case Group::edp:
    case Group::edp_shard:
    case Group::edp_replica:
      return set_of(Queue::edp);
    case Group::embedding:
      return set_of(Queue::embedding);
    case Group::stage:
      return set_of(Queue::dp, Queue::world);
    case Group::world:
      return set_of(Queue::world);
    case Group::self:
    case Group::pp_next:
    case Group::pp_prev:
      return 0;
  }
  return 0;
}

struct QueuesOfShape {
  QueueSet operator()(const CollectiveShape& shape) const { return queues_of(shape.group); }
  QueueSet operator()(const ExchangeShape& shape) const { return queues_of(shape.group); }
  QueueSet operator()(const CopyShape&) const { return set_of(Queue::copy); }
  QueueSet operator()(const PeerShape& shape) const {
    QueueSet set = 0;
    for (int q = 0; q < kNumQueues; ++q) {
      const auto queue = static_cast<Queue>(q);
      const Group peer = to_next_rank(queue) ? Group::pp_next : Group::pp_prev;
      if (is_pipeline(queue) && is_send(queue) == shape.send && peer == shape.peer) set |= set_of(queue);
    }
    return set;
  }
  template <class Compute>
  QueueSet operator()(const Compute&) const {
    return set_of(Queue::compute);
  }
};

/// Whether `begin` cuts a list of `size` into one part for each of `num_ops`.
bool covers(const std::vector<std::uint32_t>& begin, std::size_t num_ops, std::size_t size) {
  return begin.size() == num_ops + 1 && begin.front() == 0 && begin.back() == size &&
         std::is_sorted(begin.begin(), begin.end());
}

void check_class(const StepProgram& program, std::size_t rank, const std::vector<QueueSet>& queues,
                 Problems& problems) {
  const RankClass& c = program.classes[rank];
  if (!covers(c.dep_begin, c.ops.size(), c.deps.size()) || !covers(c.use_begin, c.ops.size(), c.uses.size())) {
    problems.add(rank, fmt::format("lists of dependencies or uses do not cover its {} ops", c.ops.size()));
    return;
  }
  for (OpIndex op = 0; op < c.ops.size(); ++op) {
    const Op& given = c.ops[op];
    if (given.shape >= queues.size()) {
      problems.add(rank, fmt::format("{} has shape {} of {}", to_string(given.key), given.shape, queues.size()));
    } else if ((queues[given.shape] & set_of(given.queue)) == 0) {
      problems.add(rank, fmt::format("{} is on a queue that does not run [{}]", to_string(given.key),
                                     to_text(program.shapes[given.shape])));
    }
    if (given.key.micro_batch < -1 || given.key.micro_batch >= program.num_micro_batches) {
      problems.add(rank, fmt::format("{} is of micro-batch {} of {}", to_string(given.key), given.key.micro_batch,
                                     program.num_micro_batches));
    }
    if (std::find(c.stages.begin(), c.stages.end(), given.key.stage) == c.stages.end()) {
      problems.add(rank, fmt::format("{} is of a stage that is not here", to_string(given.key)));
    }
    for (const OpIndex dep : c.deps_of(op)) {
      if (dep >= op) problems.add(rank, fmt::format("{} depends on a later op", to_string(given.key)));
    }
    for (const TensorUse& use : c.uses_of(op)) {
      if (use.tensor() >= c.tensors.size()) {
        problems.add(rank, fmt::format("{} uses a tensor that does not exist", to_string(given.key)));
      }
    }
  }
}

}  // namespace

void check_structure(const StepProgram& program, Problems& problems) {
  std::vector<QueueSet> queues;
  queues.reserve(program.shapes.size());
  for (const OpShape& shape : program.shapes) queues.push_back(std::visit(QueuesOfShape{}, shape));
  for (std::size_t rank = 0; rank < program.classes.size(); ++rank) check_class(program, rank, queues, problems);
  if (static_cast<std::int64_t>(program.classes.size()) != program.mesh.pp()) {
    problems.add(program.classes.size(), fmt::format("there are programs for {} of {} pipeline ranks",
                                                     program.classes.size(), program.mesh.pp()));
  }
}

}  // namespace orrery::verify_checks
