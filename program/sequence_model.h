// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "program/op.h"
#include "program/strategy.h"

#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

// How long the documents are that a sequence of training data is made of. Every sequence has `seq` tokens, but
// attention stays within a document: two documents of half the length have half the pairs of query and key. The
// program knows nothing of it, as it knows nothing of routers (program/load_model.h); an interpreter asks here and
// scales the FLOPs of attention (ResolvedLoad::attention_share). Everything else in a step costs the same for each
// token, whatever document it belongs to.
//
// Order of the data, as the executor reads it: with m micro-batches of b sequences on each data-parallel rank,
// sequence i of micro-batch j of rank d in step s has the number s * global_batch + d * m * b + j * b + i.

namespace orrery {

/// Every sequence is one document.
struct FixedLengths {};

/// Documents are drawn one after the other, a length with the probability of its weight, until the sequence is full;
/// the last one is cut where the sequence ends. Each sequence draws for itself.
struct HistogramLengths {
  struct Bin {
    std::int64_t tokens = 0;
    double weight = 0.0;
    bool operator==(const Bin&) const = default;
  };
  std::vector<Bin> documents;
  std::uint64_t seed = 1;
  bool operator==(const HistogramLengths&) const = default;
};

/// The documents of each sequence, in the order of the data, and from the beginning when they run out. What a sequence
/// lacks to be full is padding behind its documents.
struct RecordedLengths {
  std::vector<std::vector<std::int64_t>> sequences;
  bool operator==(const RecordedLengths&) const = default;
};

/// A stream of documents of these lengths, in this order again and again; sequences are consecutive pieces of it. A
/// document that reaches over the end of a sequence is cut into two.
struct PackedLengths {
  std::vector<std::int64_t> documents;
  bool operator==(const PackedLengths&) const = default;
};

/// Long lists are shared: a model of lengths is copied with every plan.
using SequenceModel = std::variant<FixedLengths, HistogramLengths, std::shared_ptr<const RecordedLengths>,
                                   std::shared_ptr<const PackedLengths>>;

/// Whether every sequence is one document, so that all micro-batches cost the same.
bool is_fixed(const SequenceModel& model);

/// For people: "one document each", "drawn from 3 lengths (seed 1)".
std::string describe(const SequenceModel& model);

/// Documents of one sequence, in order, then its padding. Padding costs no attention: kernels for sequences of several
/// documents leave it out.
struct Documents {
  std::vector<std::int64_t> lengths;
  std::int64_t padding = 0;
};

/// Sequence number `index` (0, 1, ... over all steps): lengths and padding together are `seq` tokens. Depends on
/// nothing but its arguments.
/// Throws: ConfigError if a recorded sequence has more than `seq` tokens.
Documents documents(const SequenceModel& model, std::int64_t index, std::int64_t seq);

/// The first recorded sequence with more than `seq` tokens; -1 if there is none.
std::int64_t first_too_long(const SequenceModel& model, std::int64_t seq);

/// Which keys a query sees: those fields of an AttentionShape.
struct AttentionMask {
  bool causal = true;
  std::int64_t window = 0;  // 0: no window
  bool chunked = false;     // blocks of a document, instead of a window that slides
  auto operator<=>(const AttentionMask&) const = default;
};
AttentionMask mask_of(const AttentionShape& shape);

/// Pairs of query and key of the queries at positions [begin, end) of the sequence. As in work_of, half of a square is
/// causal: l^2 / 2 of a document of l tokens, and w l - w^2 / 2 under a sliding window of w < l.
double attention_pairs(const Documents& documents, const AttentionMask& mask, double begin, double end);

/// The queries and keys of a sequence that one rank works on at a time. In zigzag order the sequence is cut into 2c
/// chunks and rank i of c has chunks i and 2c - 1 - i, so that causal ranks have equal work as long as the sequence is
/// one document. With a ring the keys come in c rounds: in round r those of rank i - r.
struct ContextSlice {
  std::int64_t rank = 0, size = 1;
  std::int64_t round = -1;  // -1: all keys at once
};
/// Ulysses splits heads while it attends and sees the whole sequence; all-gather splits queries, a ring keys as well.
/// `round` of a ring's attention op, as the bucket of its key says it.
ContextSlice slice_of(const Strategy& strategy, std::int64_t cp_rank, std::int64_t round);

/// Pairs of the slice over those that it would have if the sequence were one document, shared equally by all slices.
/// Complexity: linear in the documents. Requires: no window, where the slice is a round.
double attention_share(const Documents& documents, const AttentionMask& mask, std::int64_t seq,
                       const ContextSlice& slice);

/// Number of the first sequence of a micro-batch; see the order of the data above.
std::int64_t first_sequence(std::int64_t step, std::int64_t global_batch, std::int64_t dp_rank,
                            std::int64_t num_micro_batches, std::int64_t sequences_per_micro_batch,
                            std::int64_t micro_batch);

}  // namespace orrery
