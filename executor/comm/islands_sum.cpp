// SPDX-License-Identifier: Apache-2.0
#include "executor/comm/islands_sum.h"

#include "executor/comm/sum.h"

#include <algorithm>

namespace orrery::executor {

SumOverIslands::SumOverIslands(IslandSeat& seat, CollectiveKind kind, SumType type, std::span<const std::byte> input,
                               std::int64_t chunk_bytes, std::string_view key)
    : seat_(seat),
      kind_(kind),
      type_(type),
      partial_type_(partial_type_of(type)),
      input_(input),
      chunk_values_(std::max<std::int64_t>(1, chunk_bytes / size_of(partial_type_))),
      num_chunks_(steps_for(ssize_of(input) / size_of(type), chunk_values_)),
      key_(key) {}

SumOverIslands::Chunk SumOverIslands::chunk(std::int64_t index) const {
  const Piece values = piece_of({0, ssize_of(input_) / value_bytes()}, index, chunk_values_);
  return {values.offset, values.bytes};
}

Cut SumOverIslands::partials(int index, const Chunk& chunk) const {
  return seat_.even_cut(index, chunk.count, size_of(partial_type_));
}

void SumOverIslands::resize(std::vector<std::byte>& buffer, const Chunk& chunk) const {
  buffer.resize(static_cast<std::size_t>(seat_.own_part(partials(own(), chunk)).bytes));
}

CommReport SumOverIslands::stage(std::int64_t index) {
  const Chunk values = chunk(index);
  const Cut cut = results(own(), values);
  Blocks sends;
  for (const Piece& part : cut.parts) {
    sends.counts.push_back(part.bytes);
    sends.offsets.push_back(values.first * value_bytes() + part.offset);
  }
  const Blocks receives = Blocks::even(seat_.own_island().size, seat_.own_part(cut).bytes);
  terms_.resize(static_cast<std::size_t>(receives.counts[0] * seat_.own_island().size));
  return seat_.island().all_to_all_v(input_, sends, terms_, receives, key_);
}

void SumOverIslands::extend(std::int64_t index) {
  const Chunk values = chunk(index);
  const Piece part = seat_.own_part(results(own(), values));
  std::vector<const std::byte*> sources;
  for (int member = 0; member < seat_.own_island().size; ++member)
    sources.push_back(terms_.data() + member * part.bytes);
  const std::int64_t count = part.bytes / value_bytes();
  resize(after_, values);
  extend_sum(type_, own() == 0 ? nullptr : before_.data(), sources, after_.data(), count);
  if (own() == last()) finish_sum(type_, after_.data(), place_of_result(values, part), count);
}

CommReport SumOverIslands::run() {
  CommReport report = stage(0);
  if (own() == 0) extend(0);
  for (std::int64_t phase = 0; phase < num_phases(); ++phase) {
    IslandSeat::Payload payload = seat_.nothing();
    const std::int64_t coming = chunk_at(phase), going = phase - own();
    const bool comes = own() > 0 && has(coming);
    if (comes) {
      const Chunk values = chunk(coming);
      resize(before_, values);
      seat_.add_crossing(payload, partials(own() - 1, values), {}, partials(own(), values), before_);
    }
    if (own() < last() && has(going)) {
      const Chunk values = chunk(going);
      seat_.add_crossing(payload, partials(own(), values), after_, partials(own() + 1, values), {});
    }
    add_results(payload, phase);
    if (phase == 0) {
      report = seat_.enter(kind_, ssize_of(input_), key_, report, payload);
    } else {
      seat_.exchange(payload, report);
    }
    if (comes) extend(coming);
    take_results(phase);
    const std::int64_t next = chunk_at(phase + 1);
    if (next == 0 || !has(next)) continue;  // the first one is there from the start
    stage(next);
    if (own() == 0) extend(next);
  }
  return report;
}

std::span<std::byte> AllReduceOverIslands::part_of_values(const Chunk& chunk, const Piece& part) const {
  return part_of(values_, chunk.first * value_bytes() + part.offset, part.bytes);
}

std::byte* AllReduceOverIslands::place_of_result(const Chunk& chunk, const Piece& part) {
  return part_of_values(chunk, part).data();
}

void AllReduceOverIslands::add_results(IslandSeat::Payload& payload, std::int64_t phase) {
  if (const std::int64_t going = leaving(own(), phase); own() > 0 && has(going)) {
    const Chunk values = chunk(going);
    const Cut here = results(own(), values);
    seat().add_crossing(payload, here, part_of_values(values, seat().own_part(here)), results(own() - 1, values), {});
  }
  if (const std::int64_t coming = leaving(own() + 1, phase); own() < last() && has(coming)) {
    const Chunk values = chunk(coming);
    const Cut here = results(own(), values);
    seat().add_crossing(payload, results(own() + 1, values), {}, here, part_of_values(values, seat().own_part(here)));
  }
}

void AllReduceOverIslands::take_results(std::int64_t phase) {
  const std::int64_t come = own() == last() ? chunk_at(phase) : leaving(own() + 1, phase);
  if (!has(come)) return;
  const Chunk values = chunk(come);
  const Cut here = results(own(), values);
  const Piece mine = seat().own_part(here);
  Blocks blocks;
  for (const Piece& part : here.parts) {
    blocks.counts.push_back(part.bytes);
    blocks.offsets.push_back(part.offset);
  }
  const Piece whole{0, values.count * value_bytes()};
  seat().island().all_gather_v(part_of_values(values, mine), part_of_values(values, whole), blocks, key());
}

Cut ReduceScatterOverIslands::owners(int index, const Chunk& chunk) const {
  const std::int64_t begin = chunk.first * value_bytes(), end = begin + chunk.count * value_bytes();
  Cut cut{seat().islands()[static_cast<std::size_t>(index)], {}};
  const auto first_member = static_cast<std::size_t>(cut.island.first);
  for (std::size_t member = first_member; member < first_member + static_cast<std::size_t>(cut.island.size); ++member) {
    const std::int64_t first = std::clamp(blocks_.offsets[member], begin, end);
    const std::int64_t past = std::clamp(blocks_.offsets[member] + blocks_.counts[member], begin, end);
    cut.parts.push_back({first - begin, past - first});
  }
  return cut;
}

std::span<std::byte> ReduceScatterOverIslands::own_output(const Chunk& chunk) const {
  const Piece mine = seat().own_part(owners(own(), chunk));
  if (mine.bytes == 0) return {};
  const std::int64_t block = blocks_.offsets[static_cast<std::size_t>(seat().rank())];
  return part_of(output_, chunk.first * value_bytes() + mine.offset - block, mine.bytes);
}

std::byte* ReduceScatterOverIslands::place_of_result(const Chunk& /*chunk*/, const Piece& part) {
  sums_.resize(static_cast<std::size_t>(part.bytes));
  return sums_.data();
}

void ReduceScatterOverIslands::add_results(IslandSeat::Payload& payload, std::int64_t phase) {
  const std::int64_t index = phase - last();
  if (!has(index)) return;
  const Chunk values = chunk(index);
  const Cut from = results(last(), values);
  if (own() < last()) {
    seat().add_crossing(payload, from, {}, owners(own(), values), own_output(values));
    return;
  }
  for (int other = 0; other < last(); ++other) seat().add_crossing(payload, from, sums_, owners(other, values), {});
}

void ReduceScatterOverIslands::take_results(std::int64_t phase) {
  const std::int64_t index = chunk_at(phase);
  if (own() != last() || !has(index)) return;
  // To the ranks of the last island itself.
  const Chunk values = chunk(index);
  const Cut from = results(last(), values), to = owners(last(), values);
  const auto overlaps = [](const Piece& mine, const std::vector<Piece>& others) {
    Blocks blocks;
    for (const Piece& other : others) {
      const std::int64_t begin = std::max(mine.offset, other.offset);
      const std::int64_t end = std::min(mine.offset + mine.bytes, other.offset + other.bytes);
      blocks.counts.push_back(std::max<std::int64_t>(0, end - begin));
      blocks.offsets.push_back(begin < end ? begin - mine.offset : 0);
    }
    return blocks;
  };
  seat().island().all_to_all_v(sums_, overlaps(seat().own_part(from), to.parts), own_output(values),
                               overlaps(seat().own_part(to), from.parts), key());
}

}  // namespace orrery::executor
