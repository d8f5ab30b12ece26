// SPDX-License-Identifier: Apache-2.0
// What the ranks of one group can say to each other. A Communicator is one rank's end of a group; peers are numbered
// from 0 within the group. Back ends: `self` (one rank), `shm` (ranks of one machine), `stream` (ranks of several) and
// `islands` (machines with several ranks each). Anything else that training needs is composed of these calls.
//
// Contract. All members of a group make the same collective calls in the same order, with sizes that fit each other. A
// communicator is used by one thread. Sums are taken in the order of the ranks, so they do not change from run to run.
// No call hangs: when a peer dies, fails or stays away for too long, the wait ends with a BackendError that names the
// rank, the op and the peer, and the whole run is over. `key` is the text of the op's key, for that message.
#pragma once

#include "executor/comm/clock.h"
#include "executor/kernels/bf16.h"

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace orrery::executor {

/// What ranks can add up. 128-bit integers serve the gradient norm, whose sum must not depend on its order. Sums of
/// bf16 are taken in f32 and rounded once. The last one is no sum: it keeps the larger value.
using Int128 = __int128;
enum class SumType { f32, f64, int64, int128, bf16, largest_f32 };

template <class T>
concept Summable = std::same_as<T, float> || std::same_as<T, double> || std::same_as<T, std::int64_t> ||
                   std::same_as<T, Int128> || std::same_as<T, bf16>;

template <Summable T>
constexpr SumType sum_type_of() {
  if constexpr (std::same_as<T, float>) return SumType::f32;
  if constexpr (std::same_as<T, bf16>) return SumType::bf16;
  if constexpr (std::same_as<T, double>) return SumType::f64;
  if constexpr (std::same_as<T, std::int64_t>) return SumType::int64;
  return SumType::int128;
}

/// Size in bytes of one value.
std::int64_t size_of(SumType type);

/// What one call did, as far as a trace needs it.
struct CommReport {
  std::int64_t bytes_sent = 0;  ///< payload for other ranks, whichever way; a rank's own part does not count
  /// What this rank has handed to streams over the network: as much, nothing where memory carries it, and less where
  /// ranks of one host share what crosses the link once.
  std::int64_t bytes_on_network = 0;
  int last_peer = -1;         ///< the peer whose arrival was the last; -1 without peers
  Instant own_arrival = {};   ///< when this rank called a collective, as its peers read it; not set without peers
  Instant last_arrival = {};  ///< when it called (before one's own start if this rank came last); for a send: had room
};

/// A cut of a buffer into one block of bytes per rank of the group; blocks may stand in any order, with gaps.
struct Blocks {
  std::vector<std::int64_t> counts;
  std::vector<std::int64_t> offsets;

  /// Blocks that follow each other without gaps; counts are of things of `bytes_each`.
  static Blocks contiguous(std::vector<std::int64_t> counts, std::int64_t bytes_each = 1);
  /// As many of `bytes` each.
  static Blocks even(std::int64_t num_ranks, std::int64_t bytes);
  /// Whether they are as even() makes them.
  bool are_even() const;
  /// Whether they are as contiguous() makes them.
  bool are_contiguous() const;
};

/// A send or a receive under way. Requires: its buffer and its communicator outlive it, and it is done before it is
/// destroyed, unless a BackendError ended the run.
class Transfer {
 public:
  virtual ~Transfer() = default;

  /// Moves what can be moved now; true when all bytes are through (for a send: handed over, not yet received).
  /// Throws: BackendError, when the peer has failed.
  virtual bool test() = 0;

  /// Waits until `test()` is true.
  virtual CommReport wait() = 0;
};

class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;

  /// Replaces `values` by the sum over the ranks. Sends every part of the sum once to its owner and back: 2(n-1)/n of
  /// the buffer per rank, exactly when n divides the number of values. Requires: the same number of values everywhere.
  template <Summable T>
  CommReport all_reduce(std::span<T> values, std::string_view key) {
    return do_all_reduce(sum_type_of<T>(), std::as_writable_bytes(values), key);
  }

  /// Replaces `values` by the largest over the ranks; sends what all_reduce sends.
  CommReport all_reduce_largest(std::span<float> values, std::string_view key) {
    return do_all_reduce(SumType::largest_f32, std::as_writable_bytes(values), key);
  }

  /// `output` = this rank's block of the sum over the ranks. Requires: `input` is size() blocks as long as `output`.
  template <Summable T>
  CommReport reduce_scatter(std::span<const T> input, std::span<T> output, std::string_view key) {
    return do_reduce_scatter(sum_type_of<T>(), std::as_bytes(input), std::as_writable_bytes(output), key);
  }
  /// The same for a type that is known at run time.
  CommReport reduce_scatter(SumType type, std::span<const std::byte> input, std::span<std::byte> output,
                            std::string_view key) {
    return do_reduce_scatter(type, input, output, key);
  }

  /// `output` = the inputs of all ranks, one after the other. `input` may be this rank's block of `output`.
  /// Requires: inputs of one length on all ranks.
  virtual CommReport all_gather(std::span<const std::byte> input, std::span<std::byte> output,
                                std::string_view key) = 0;

  /// Block j of `sends` goes to rank j; block i of `receives` comes from rank i.
  /// Requires: both sides of each pair agree on the length of its block (`exchange_counts`).
  virtual CommReport all_to_all_v(std::span<const std::byte> input, const Blocks& sends, std::span<std::byte> output,
                                  const Blocks& receives, std::string_view key) = 0;

  /// A gather in which every rank has a part of its own size, maybe none: each rank's `input` goes to its block of
  /// `output` on all ranks. All ranks together send what an even gather of as many bytes would, and where the blocks
  /// are even, it is one. Requires: the same blocks everywhere.
  virtual CommReport all_gather_v(std::span<const std::byte> input, std::span<std::byte> output, const Blocks& blocks,
                                  std::string_view key);

  /// The same for a sum: `output` = the sum over the ranks, in their order, of this rank's block of `input`.
  /// Requires: the same blocks everywhere; `output` has the length of this rank's.
  virtual CommReport reduce_scatter_v(SumType type, std::span<const std::byte> input, const Blocks& blocks,
                                      std::span<std::byte> output, std::string_view key);

  /// Makes `values` on all ranks equal to those of `root`. Requires: one length on all ranks.
  virtual CommReport broadcast(std::span<std::byte> values, int root, std::string_view key) = 0;

  /// Returns when all ranks have called it.
  virtual CommReport barrier(std::string_view key) = 0;

  /// Posts a message to `peer`. It leaves without the receiver as far as there is room, and the rest moves whenever
  /// this rank waits for anything or tests it. Messages between two ranks arrive in the order in which they were
  /// posted.
  virtual std::unique_ptr<Transfer> start_send(std::span<const std::byte> message, int peer, std::string_view key) = 0;

  /// Posts the receive of the next message from `peer`. Requires: `message` has the length of what was sent.
  virtual std::unique_ptr<Transfer> start_receive(std::span<std::byte> message, int peer, std::string_view key) = 0;

  CommReport send(std::span<const std::byte> message, int peer, std::string_view key);
  CommReport receive(std::span<std::byte> message, int peer, std::string_view key);

 protected:
  virtual CommReport do_all_reduce(SumType type, std::span<std::byte> values, std::string_view key) = 0;
  virtual CommReport do_reduce_scatter(SumType type, std::span<const std::byte> input, std::span<std::byte> output,
                                       std::string_view key) = 0;
};

/// Tells each rank how much it will get: element i of the result is what rank i passed in its element size().
/// It sends 8 bytes to each peer; `report`, when given, receives the report of that exchange.
std::vector<std::int64_t> exchange_counts(Communicator& group, std::span<const std::int64_t> send_counts,
                                          std::string_view key, CommReport* report = nullptr);

}  // namespace orrery::executor
