// SPDX-License-Identifier: Apache-2.0
// A sum over islands with the bits of one over all ranks in their order. It cannot add up what each island has added up
// by itself: (a + b) + (c + d) is not ((a + b) + c) + d. So a sum visits the islands one after the other: the ranks of
// the first one add up their terms and hand the sum so far on to the second, which goes on with its own, and the last
// one has the whole. Each island shares the work among its ranks, and the whole buffer crosses each link once, however
// many ranks there are on either side. What is summed is cut into chunks: while one is on its way to the second island,
// the sum of the one before comes back over the other direction of the link.
//
// In phase p the sum so far of chunk p - i crosses from island i to the next one. Private to `comm/`.
#pragma once

#include "executor/comm/islands.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace orrery::executor {

class SumOverIslands {
 public:
  /// `chunk_bytes`: of what travels at most in a phase.
  SumOverIslands(IslandSeat& seat, CollectiveKind kind, SumType type, std::span<const std::byte> input,
                 std::int64_t chunk_bytes, std::string_view key);
  virtual ~SumOverIslands() = default;

  CommReport run();

 protected:
  /// Some of the values, by number.
  struct Chunk {
    std::int64_t first;
    std::int64_t count;
  };

  /// Phases until all results are where they belong.
  virtual std::int64_t num_phases() const = 0;
  /// Adds the results that cross in a phase.
  virtual void add_results(IslandSeat::Payload& payload, std::int64_t phase) = 0;
  /// Takes those that have come, and in the last island those that it has made.
  virtual void take_results(std::int64_t phase) = 0;
  /// Where the last island puts its rank's part of the whole sum of a chunk.
  virtual std::byte* place_of_result(const Chunk& chunk, const Piece& part) = 0;

  IslandSeat& seat() const { return seat_; }
  std::string_view key() const { return key_; }
  int own() const { return seat_.own(); }
  int last() const { return static_cast<int>(seat_.islands().size()) - 1; }
  std::int64_t num_chunks() const { return num_chunks_; }
  bool has(std::int64_t chunk) const { return 0 <= chunk && chunk < num_chunks_; }
  Chunk chunk(std::int64_t index) const;
  std::int64_t value_bytes() const { return size_of(type_); }
  /// How island `index` shares whole sums of a chunk, in bytes from the begin of the chunk.
  Cut results(int index, const Chunk& chunk) const { return seat_.even_cut(index, chunk.count, value_bytes()); }
  /// The chunk whose sum so far comes to this island in a phase, or, in the first one, leaves it.
  std::int64_t chunk_at(std::int64_t phase) const { return own() == 0 ? phase : phase - (own() - 1); }

 private:
  /// How it shares sums so far, which may have a wider type.
  Cut partials(int index, const Chunk& chunk) const;
  void resize(std::vector<std::byte>& buffer, const Chunk& chunk) const;
  /// Brings the terms of a chunk to those ranks of this island that add them up.
  CommReport stage(std::int64_t index);
  /// Adds them to the sum so far.
  void extend(std::int64_t index);

  IslandSeat& seat_;
  CollectiveKind kind_;
  SumType type_, partial_type_;
  std::span<const std::byte> input_;
  std::int64_t chunk_values_, num_chunks_;
  std::string_view key_;
  std::vector<std::byte> terms_;   // one part from each rank of the island
  std::vector<std::byte> before_;  // the sum so far as it has come
  std::vector<std::byte> after_;   // and with this island's terms
};

/// Results go back the way that the sum has come, from island to island.
class AllReduceOverIslands final : public SumOverIslands {
 public:
  AllReduceOverIslands(IslandSeat& seat, SumType type, std::span<std::byte> values, std::int64_t chunk_bytes,
                       std::string_view key)
      : SumOverIslands(seat, CollectiveKind::all_reduce, type, values, chunk_bytes, key), values_(values) {}

 private:
  std::int64_t num_phases() const override { return num_chunks() + 2 * std::int64_t{last()} - 1; }
  void add_results(IslandSeat::Payload& payload, std::int64_t phase) override;
  void take_results(std::int64_t phase) override;
  std::byte* place_of_result(const Chunk& chunk, const Piece& part) override;

  /// The chunk whose result leaves an island for the one before it.
  std::int64_t leaving(int island, std::int64_t phase) const { return phase - (2 * last() - island); }
  std::span<std::byte> part_of_values(const Chunk& chunk, const Piece& part) const;

  std::span<std::byte> values_;
};

/// Results go from the last island to those ranks whose blocks they are.
class ReduceScatterOverIslands final : public SumOverIslands {
 public:
  ReduceScatterOverIslands(IslandSeat& seat, SumType type, std::span<const std::byte> input, const Blocks& blocks,
                           std::span<std::byte> output, std::int64_t chunk_bytes, std::string_view key)
      : SumOverIslands(seat, CollectiveKind::reduce_scatter, type, input, chunk_bytes, key),
        blocks_(blocks),
        output_(output) {}

 private:
  std::int64_t num_phases() const override { return num_chunks() + last(); }
  void add_results(IslandSeat::Payload& payload, std::int64_t phase) override;
  void take_results(std::int64_t phase) override;
  std::byte* place_of_result(const Chunk& chunk, const Piece& part) override;

  /// What of a chunk belongs to the ranks of island `index`.
  Cut owners(int index, const Chunk& chunk) const;
  /// This rank's part of it in its output.
  std::span<std::byte> own_output(const Chunk& chunk) const;

  const Blocks& blocks_;
  std::span<std::byte> output_;
  std::vector<std::byte> sums_;  // of a chunk, this rank's part, in the last island
};

}  // namespace orrery::executor
