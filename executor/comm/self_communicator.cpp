// SPDX-License-Identifier: Apache-2.0
#include "executor/comm/self_communicator.h"

#include "base/check.h"

#include <cstring>

namespace orrery::executor {
namespace {

// memmove, because a rank's input may be its own block of the output.
CommReport copy(std::span<const std::byte> input, std::span<std::byte> output) {
  CHECK(input.size() == output.size(), input.size(), output.size());
  if (!input.empty()) std::memmove(output.data(), input.data(), input.size());
  return {};
}

}  // namespace

CommReport SelfCommunicator::all_gather(std::span<const std::byte> input, std::span<std::byte> output,
                                        std::string_view) {
  return copy(input, output);
}

CommReport SelfCommunicator::all_to_all_v(std::span<const std::byte> input, const Blocks& sends,
                                          std::span<std::byte> output, const Blocks& receives, std::string_view) {
  const auto block_of = [](auto buffer, const Blocks& blocks) {
    CHECK(blocks.counts.size() == 1, blocks.counts.size());
    return buffer.subspan(static_cast<std::size_t>(blocks.offsets[0]), static_cast<std::size_t>(blocks.counts[0]));
  };
  return copy(block_of(input, sends), block_of(output, receives));
}

CommReport SelfCommunicator::broadcast(std::span<std::byte>, int root, std::string_view) {
  CHECK(root == 0, root);
  return {};
}

CommReport SelfCommunicator::barrier(std::string_view) { return {}; }

std::unique_ptr<Transfer> SelfCommunicator::start_send(std::span<const std::byte>, int peer, std::string_view key) {
  CHECK(size() > 1, peer, key);
  return nullptr;
}

std::unique_ptr<Transfer> SelfCommunicator::start_receive(std::span<std::byte>, int peer, std::string_view key) {
  CHECK(size() > 1, peer, key);
  return nullptr;
}

CommReport SelfCommunicator::do_all_reduce(SumType, std::span<std::byte>, std::string_view) { return {}; }

CommReport SelfCommunicator::do_reduce_scatter(SumType, std::span<const std::byte> input, std::span<std::byte> output,
                                               std::string_view) {
  return copy(input, output);
}

}  // namespace orrery::executor
