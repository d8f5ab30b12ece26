// SPDX-License-Identifier: Apache-2.0
#include "executor/comm/uneven.h"

#include "base/check.h"
#include "executor/comm/shm_pieces.h"
#include "executor/comm/sum.h"

namespace orrery::executor {

CommReport all_gather_v(Communicator& group, std::span<const std::byte> input, std::span<std::byte> output,
                        const Blocks& blocks, std::string_view key) {
  const auto num_ranks = static_cast<std::size_t>(group.size());
  CHECK(blocks.counts.size() == num_ranks && blocks.counts[static_cast<std::size_t>(group.rank())] == ssize_of(input),
        key, input.size());
  if (blocks.are_even()) return group.all_gather(input, output, key);
  // The same bytes go to everyone.
  const Blocks all{.counts = std::vector<std::int64_t>(num_ranks, ssize_of(input)),
                   .offsets = std::vector<std::int64_t>(num_ranks, 0)};
  return group.all_to_all_v(input, all, output, blocks, key);
}

CommReport reduce_scatter_v(Communicator& group, SumType type, std::span<const std::byte> input, const Blocks& blocks,
                            std::span<std::byte> output, std::string_view key) {
  const auto num_ranks = static_cast<std::size_t>(group.size());
  const std::int64_t own = ssize_of(output);
  CHECK(blocks.counts.size() == num_ranks && blocks.counts[static_cast<std::size_t>(group.rank())] == own, key, own);
  if (blocks.are_even()) return group.reduce_scatter(type, input, output, key);
  const Blocks terms = Blocks::even(group.size(), own);
  std::vector<std::byte> received(num_ranks * output.size());
  const CommReport report = group.all_to_all_v(input, blocks, received, terms, key);
  std::vector<const std::byte*> sources;
  for (const std::int64_t offset : terms.offsets) sources.push_back(received.data() + offset);
  sum_in_order(type, sources, output.data(), own / size_of(type));
  return report;
}

}  // namespace orrery::executor
