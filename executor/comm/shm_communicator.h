// SPDX-License-Identifier: Apache-2.0
// Ranks of one machine, through shared memory. A collective is a row of steps: each rank stages at most one chunk in
// its slot, all meet, each reads the slots of the others. Slots have two halves that steps use in turn; since nobody
// passes the meeting of a step before all have read what was staged in the step before, one meeting per step is enough
// (the second one of an all-reduce hands out the sums). Every byte is copied twice: into a slot and out of it. Private
// to `comm/`.
#pragma once

#include "executor/comm/group_member.h"
#include "executor/comm/shm_group_memory.h"
#include "executor/comm/shm_pieces.h"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace orrery::executor {

class ShmCommunicator final : public GroupMember {
 public:
  /// Requires: at least two members.
  ShmCommunicator(Endpoint& endpoint, std::string_view id, std::span<const int> members);

  CommReport all_gather(std::span<const std::byte> input, std::span<std::byte> output, std::string_view key) override;
  CommReport all_to_all_v(std::span<const std::byte> input, const Blocks& sends, std::span<std::byte> output,
                          const Blocks& receives, std::string_view key) override;
  CommReport broadcast(std::span<std::byte> values, int root, std::string_view key) override;
  CommReport barrier(std::string_view key) override;

 protected:
  CommReport do_all_reduce(SumType type, std::span<std::byte> values, std::string_view key) override;
  CommReport do_reduce_scatter(SumType type, std::span<const std::byte> input, std::span<std::byte> output,
                               std::string_view key) override;
  std::unique_ptr<ByteStream> open_stream(const std::string& name, Channel::Direction direction, int peer) override;

 private:
  /// Starts a collective and its first step. `bytes` is what all ranks must agree on; `num_steps` is what this rank
  /// needs, for those in which only the largest need counts.
  void begin(CollectiveKind kind, std::int64_t bytes, std::string_view key, std::int64_t num_steps = 1);
  /// Starts a step: the other half of the slots is free now.
  void next_step() { half_ ^= 1; }
  /// Returns when all ranks have called it as often as this one.
  void meet();
  /// What the ranks said in `begin`, to be read after the first meeting of a collective.
  /// Throws: InternalError, when a rank is in another collective, or has other sizes.
  CommReport read_posts(std::int64_t bytes_sent);
  /// What the rank that needs most steps needs.
  std::int64_t most_steps() const;
  /// Throws: InternalError, when a rank sends another number of bytes than this one expects.
  void check_counts(const Blocks& receives) const;

  /// Stages the pieces of all parts but the own, meets, and sums the own piece into `target`.
  void sum_step(SumType type, std::span<const std::byte> input, const std::vector<Piece>& parts, std::int64_t step,
                std::span<std::byte> target);

  std::byte* slot(int member) { return memory_.slot(member, half_); }

  GroupMemory memory_;
  std::uint64_t num_meetings_ = 0;
  int half_ = 0;
  CollectiveKind kind_ = CollectiveKind::barrier;
  std::string_view key_;
};

}  // namespace orrery::executor
