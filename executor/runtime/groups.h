// SPDX-License-Identifier: Apache-2.0
// The communicators of one rank: one per queue of its program, as a GPU rank would have them. Each direction of a
// pipeline edge is a communicator of its own.
#pragma once

#include "executor/comm/communicator.h"
#include "executor/comm/shm_endpoint.h"
#include "program/step_program.h"

#include <array>
#include <memory>
#include <vector>

namespace orrery::executor {

class Groups {
 public:
  /// Asks `endpoint` for the groups that the ops of the rank's class use.
  Groups(const StepProgram& program, RankId rank, ShmEndpoint& endpoint);

  Communicator& of(Queue queue) const;
  /// The rank that is `peer` in the group of `queue`; -1 for -1.
  std::int32_t rank_of(Queue queue, int peer) const;
  /// The group of all ranks; always there.
  Communicator& world() const { return of(Queue::world); }

 private:
  std::array<std::unique_ptr<Communicator>, kNumQueues> groups_;
  std::array<std::vector<int>, kNumQueues> members_;
};

}  // namespace orrery::executor
