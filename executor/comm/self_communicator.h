// SPDX-License-Identifier: Apache-2.0
// The group of one rank: sums are what they were, gathers and exchanges are copies, nothing is sent, and there is
// nobody to send to. It lets a plan on one rank run the same code as a plan on many.
#pragma once

#include "executor/comm/communicator.h"

namespace orrery::executor {

class SelfCommunicator final : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }

  CommReport all_gather(std::span<const std::byte> input, std::span<std::byte> output, std::string_view key) override;
  CommReport all_to_all_v(std::span<const std::byte> input, const Blocks& sends, std::span<std::byte> output,
                          const Blocks& receives, std::string_view key) override;
  CommReport broadcast(std::span<std::byte> values, int root, std::string_view key) override;
  CommReport barrier(std::string_view key) override;

  /// Throws: InternalError, always: a group of one has no peer.
  std::unique_ptr<Transfer> start_send(std::span<const std::byte> message, int peer, std::string_view key) override;
  std::unique_ptr<Transfer> start_receive(std::span<std::byte> message, int peer, std::string_view key) override;

 protected:
  CommReport do_all_reduce(SumType type, std::span<std::byte> values, std::string_view key) override;
  CommReport do_reduce_scatter(SumType type, std::span<const std::byte> input, std::span<std::byte> output,
                               std::string_view key) override;
};

}  // namespace orrery::executor
