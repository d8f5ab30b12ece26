// SPDX-License-Identifier: Apache-2.0
// Where tokens come from. A sequence is a pure function of its global number, so every layout trains on the same data
// in the same order, and a rank reads just what is its own.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace orrery::executor {

/// The text of a corpus. Throws: ConfigError, when it is no file that can be read again and again: every rank reads it.
std::string read_corpus(const std::string& path);

class Corpus {
 public:
  /// The bytes of the file `path` as tokens; or, with an empty path, a seeded synthetic text: a fixed random walk over
  /// the vocabulary in which each token is followed by one of four, so that there is something to learn.
  /// Throws: ConfigError, when the file is missing, shorter than one sequence, or has bytes outside the vocabulary.
  Corpus(const std::string& path, std::int64_t vocab, std::int64_t seq, std::uint64_t seed);

  /// Sequence number `index` (0, 1, ... over all steps): `seq` tokens, and the token that follows each of them; or
  /// more, for who predicts further ahead: the text goes on behind the sequence. Requires: two spans of one size, at
  /// least `seq`.
  void sequence(std::int64_t index, std::span<std::int64_t> tokens, std::span<std::int64_t> labels) const;

 private:
  std::int64_t vocab_, seq_;
  std::uint64_t seed_;
  std::string text_;
};

}  // namespace orrery::executor
