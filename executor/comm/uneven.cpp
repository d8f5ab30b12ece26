// SPDX-License-Identifier: Apache-2.0
// Gathers and sums with parts of any size, for carriers that have no way of their own: composed of the variable
// all-to-all, so that every one has them.
#include "base/check.h"
#include "executor/comm/communicator.h"
#include "executor/comm/shm_pieces.h"
#include "executor/comm/sum.h"

namespace orrery::executor {

CommReport Communicator::all_gather_v(std::span<const std::byte> input, std::span<std::byte> output,
                                      const Blocks& blocks, std::string_view key) {
  const auto num_ranks = static_cast<std::size_t>(size());
  CHECK(blocks.counts.size() == num_ranks && blocks.counts[static_cast<std::size_t>(rank())] == ssize_of(input), key,
        input.size());
  if (blocks.are_even()) return all_gather(input, output, key);
  // The same bytes go to everyone.
  const Blocks all{.counts = std::vector<std::int64_t>(num_ranks, ssize_of(input)),
                   .offsets = std::vector<std::int64_t>(num_ranks, 0)};
  return all_to_all_v(input, all, output, blocks, key);
}

CommReport Communicator::reduce_scatter_v(SumType type, std::span<const std::byte> input, const Blocks& blocks,
                                          std::span<std::byte> output, std::string_view key) {
  const auto num_ranks = static_cast<std::size_t>(size());
  const std::int64_t own = ssize_of(output);
  CHECK(blocks.counts.size() == num_ranks && blocks.counts[static_cast<std::size_t>(rank())] == own, key, own);
  if (blocks.are_even()) return reduce_scatter(type, input, output, key);
  const Blocks terms = Blocks::even(size(), own);
  std::vector<std::byte> received(num_ranks * output.size());
  const CommReport report = all_to_all_v(input, blocks, received, terms, key);
  std::vector<const std::byte*> sources;
  for (const std::int64_t offset : terms.offsets) sources.push_back(received.data() + offset);
  sum_in_order(type, sources, output.data(), own / size_of(type));
  return report;
}

}  // namespace orrery::executor
