// SPDX-License-Identifier: Apache-2.0
#include "executor/comm/communicator.h"

#include "base/check.h"

#include <numeric>

namespace orrery::executor {

std::int64_t size_of(SumType type) {
  switch (type) {
    case SumType::f32:
      return 4;
    case SumType::f64:
      return 8;
    case SumType::int64:
      return 8;
    case SumType::int128:
      return 16;
    case SumType::bf16:
      return 2;
    case SumType::largest_f32:
      return 4;
  }
  CHECK(false, type);
  return 0;
}

Blocks Blocks::contiguous(std::vector<std::int64_t> counts, std::int64_t bytes_each) {
  for (std::int64_t& count : counts) count *= bytes_each;
  std::vector<std::int64_t> offsets(counts.size());
  std::exclusive_scan(counts.begin(), counts.end(), offsets.begin(), std::int64_t{0});
  return {std::move(counts), std::move(offsets)};
}

Blocks Blocks::even(std::int64_t num_ranks, std::int64_t bytes) {
  return contiguous(std::vector<std::int64_t>(static_cast<std::size_t>(num_ranks), bytes));
}

bool Blocks::are_even() const {
  const Blocks even = Blocks::even(std::ssize(counts), counts.empty() ? 0 : counts.front());
  return counts == even.counts && offsets == even.offsets;
}

bool Blocks::are_contiguous() const { return offsets == contiguous(counts).offsets; }

CommReport Communicator::send(std::span<const std::byte> message, int peer, std::string_view key) {
  return start_send(message, peer, key)->wait();
}

CommReport Communicator::receive(std::span<std::byte> message, int peer, std::string_view key) {
  return start_receive(message, peer, key)->wait();
}

std::vector<std::int64_t> exchange_counts(Communicator& group, std::span<const std::int64_t> send_counts,
                                          std::string_view key, CommReport* report) {
  const auto num_ranks = static_cast<std::size_t>(group.size());
  CHECK(send_counts.size() == num_ranks, send_counts.size(), num_ranks);
  std::vector<std::int64_t> receive_counts(num_ranks);
  const Blocks one_each = Blocks::even(group.size(), sizeof(std::int64_t));
  const CommReport exchange =
      group.all_to_all_v(std::as_bytes(send_counts), one_each,
                         std::as_writable_bytes(std::span<std::int64_t>(receive_counts)), one_each, key);
  if (report != nullptr) *report = exchange;
  return receive_counts;
}

}  // namespace orrery::executor
