// SPDX-License-Identifier: Apache-2.0
// The communicators of one rank: one for each group in which its ops communicate, and one for each direction of a
// pipeline edge and kind of message, as a GPU rank would have them.
#pragma once

#include "executor/comm/communicator.h"
#include "executor/comm/endpoint.h"
#include "program/step_program.h"

#include <array>
#include <memory>
#include <optional>
#include <vector>

namespace orrery::executor {

/// The group in which an op of this shape communicates; nothing for arithmetic, copies and messages of the pipeline.
std::optional<Group> group_of(const OpShape& shape);

class Groups {
 public:
  /// Asks `endpoint` for the groups that the ops of the rank's class use.
  Groups(const StepProgram& program, RankId rank, Endpoint& endpoint);

  Communicator& of(Group group) const;
  /// The two ends of a pipeline queue, the sender first.
  Communicator& edge(Queue queue) const;
  /// That of a communicating op.
  Communicator& of(const Op& op) const;
  /// The rank that is `peer` in the group of the op; -1 for -1.
  std::int32_t rank_of(const Op& op, int peer) const;
  /// The group of all ranks; always there.
  Communicator& world() const { return of(Group::world); }

 private:
  struct End {
    std::unique_ptr<Communicator> group;
    std::vector<int> members;
  };
  const End& end_of(const Op& op) const;

  const StepProgram& program_;
  std::array<End, kNumGroups> groups_;
  std::array<End, kNumQueues> edges_;
};

}  // namespace orrery::executor
