// SPDX-License-Identifier: Apache-2.0
// The sums of ShmCommunicator. Each rank owns one part of the buffer and adds up the pieces of it that the others
// stage; an all-reduce then hands the sum out through the owner's lane of the owner's slot, which nobody staged into.
#include "base/check.h"
#include "executor/comm/shm_communicator.h"
#include "executor/comm/shm_pieces.h"
#include "executor/comm/sum.h"

namespace orrery::executor {

void ShmCommunicator::sum_step(SumType type, std::span<const std::byte> input, const std::vector<Piece>& parts,
                               std::int64_t step, std::span<std::byte> target) {
  const std::int64_t lane = lane_bytes(memory_.slot_bytes(), size());
  for (int peer = 0; peer < size(); ++peer) {
    if (peer == rank()) continue;
    const Piece piece = piece_of(parts[static_cast<std::size_t>(peer)], step, lane);
    copy_bytes(slot(rank()) + peer * lane, input.data() + piece.offset, piece.bytes);
  }
  meet();
  const Piece mine = piece_of(parts[static_cast<std::size_t>(rank())], step, lane);
  std::vector<const std::byte*> sources;
  for (int member = 0; member < size(); ++member)
    sources.push_back(member == rank() ? input.data() + mine.offset : slot(member) + rank() * lane);
  sum_in_order(type, sources, target.data(), mine.bytes / size_of(type));
}

CommReport ShmCommunicator::do_all_reduce(SumType type, std::span<std::byte> values, std::string_view key) {
  const std::int64_t num_values = ssize_of(values) / size_of(type);
  const std::vector<Piece> parts = even_parts(num_values, size_of(type), size());
  const Piece own = parts[static_cast<std::size_t>(rank())];
  const std::int64_t lane = lane_bytes(memory_.slot_bytes(), size());
  const std::int64_t num_steps = steps_for(parts[0].bytes, lane);
  // The parts of the others go to them, and the sum of the own part to each of them.
  const std::int64_t bytes_sent = ssize_of(values) - own.bytes + (size() - 1) * own.bytes;
  CommReport report;
  for (std::int64_t step = 0; step < num_steps; ++step) {
    step == 0 ? begin(CollectiveKind::all_reduce, ssize_of(values), key) : next_step();
    const Piece mine = piece_of(own, step, lane);
    const auto sum = values.subspan(static_cast<std::size_t>(mine.offset), static_cast<std::size_t>(mine.bytes));
    sum_step(type, values, parts, step, sum);
    if (step == 0) report = read_posts(bytes_sent);
    copy_bytes(slot(rank()) + rank() * lane, sum.data(), mine.bytes);
    meet();
    for (int peer = 0; peer < size(); ++peer) {
      if (peer == rank()) continue;
      const Piece piece = piece_of(parts[static_cast<std::size_t>(peer)], step, lane);
      copy_bytes(values.data() + piece.offset, slot(peer) + peer * lane, piece.bytes);
    }
  }
  return report;
}

CommReport ShmCommunicator::do_reduce_scatter(SumType type, std::span<const std::byte> input,
                                              std::span<std::byte> output, std::string_view key) {
  CHECK(ssize_of(input) == ssize_of(output) * size(), key, input.size(), output.size(), size());
  const std::int64_t num_values = ssize_of(input) / size_of(type);
  const std::vector<Piece> parts = even_parts(num_values, size_of(type), size());
  const std::int64_t lane = lane_bytes(memory_.slot_bytes(), size());
  const std::int64_t num_steps = steps_for(ssize_of(output), lane);
  CommReport report;
  for (std::int64_t step = 0; step < num_steps; ++step) {
    step == 0 ? begin(CollectiveKind::reduce_scatter, ssize_of(input), key) : next_step();
    const Piece target = piece_of({0, ssize_of(output)}, step, lane);
    sum_step(type, input, parts, step,
             output.subspan(static_cast<std::size_t>(target.offset), static_cast<std::size_t>(target.bytes)));
    if (step == 0) report = read_posts((size() - 1) * ssize_of(output));
  }
  return report;
}

}  // namespace orrery::executor
