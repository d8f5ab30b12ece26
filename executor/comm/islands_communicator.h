// SPDX-License-Identifier: Apache-2.0
// A group over several islands (islands.h), composed of a communicator within each and of streams between them. Within
// an island ranks share what they have; across, each payload goes once to each island that needs it, in parts that all
// its ranks carry at the same time. A sum visits the islands in the order of the ranks (islands_sum.h), so that its
// bits are those of one island. Nothing here knows how the ranks of an island talk: it is shared memory today. Private
// to `comm/`.
#pragma once

#include "executor/comm/group_member.h"
#include "executor/comm/islands.h"

#include <memory>
#include <string_view>
#include <vector>

namespace orrery::executor {

class IslandsCommunicator final : public GroupMember {
 public:
  /// Requires: at least two islands; `island` is this rank's end of its own one.
  IslandsCommunicator(Endpoint& endpoint, std::string_view id, std::span<const int> members,
                      std::vector<Island> islands, std::unique_ptr<Communicator> island);

  CommReport all_gather(std::span<const std::byte> input, std::span<std::byte> output, std::string_view key) override;
  CommReport all_to_all_v(std::span<const std::byte> input, const Blocks& sends, std::span<std::byte> output,
                          const Blocks& receives, std::string_view key) override;
  CommReport all_gather_v(std::span<const std::byte> input, std::span<std::byte> output, const Blocks& blocks,
                          std::string_view key) override;
  CommReport reduce_scatter_v(SumType type, std::span<const std::byte> input, const Blocks& blocks,
                              std::span<std::byte> output, std::string_view key) override;
  CommReport broadcast(std::span<std::byte> values, int root, std::string_view key) override;
  CommReport barrier(std::string_view key) override;

 protected:
  CommReport do_all_reduce(SumType type, std::span<std::byte> values, std::string_view key) override;
  CommReport do_reduce_scatter(SumType type, std::span<const std::byte> input, std::span<std::byte> output,
                               std::string_view key) override;
  std::unique_ptr<ByteStream> open_stream(const std::string& name, Channel::Direction direction, int peer) override;

 private:
  /// The blocks of an island's ranks, as parts of the region that they cover.
  Cut cut_of(int island, const Blocks& blocks) const;
  CommReport gather(std::span<const std::byte> input, std::span<std::byte> output, const Blocks& blocks,
                    std::int64_t bytes, std::string_view key);
  /// Brings the parts that the ranks of this island have of a region to all of them.
  void share(std::span<std::byte> region, const Cut& cut, std::string_view key);

  IslandSeat seat_;
};

}  // namespace orrery::executor
