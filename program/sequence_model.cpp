// SPDX-License-Identifier: Apache-2.0
#include "program/sequence_model.h"

#include "base/check.h"
#include "base/errors.h"
#include "base/rng.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include <fmt/format.h>

namespace orrery {
namespace {

using SharedRecorded = std::shared_ptr<const RecordedLengths>;
using SharedPacked = std::shared_ptr<const PackedLengths>;

std::int64_t sum(const std::vector<std::int64_t>& lengths) {
  return std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
}

struct Packer {
  std::int64_t index, seq;

  Documents operator()(const FixedLengths&) const { return {.lengths = {seq}}; }

  Documents operator()(const HistogramLengths& model) const {
    std::vector<double> cumulated;
    double total = 0.0;
    for (const HistogramLengths::Bin& bin : model.documents) cumulated.push_back(total += bin.weight);
    const CounterRng rng(model.seed, static_cast<std::uint64_t>(index));
    Documents out;
    std::int64_t room = seq;
    for (std::uint64_t draw = 0; room > 0; ++draw) {
      const auto found = std::upper_bound(cumulated.begin(), cumulated.end(), rng.uniform(draw) * total);
      const auto bin = std::min(static_cast<std::size_t>(found - cumulated.begin()), cumulated.size() - 1);
      out.lengths.push_back(std::min(model.documents[bin].tokens, room));
      room -= out.lengths.back();
    }
    return out;
  }

  Documents operator()(const SharedRecorded& model) const {
    const auto place = static_cast<std::size_t>(index) % model->sequences.size();
    const std::vector<std::int64_t>& lengths = model->sequences[place];
    const std::int64_t tokens = sum(lengths);
    if (tokens > seq) {
      throw ConfigError(
          fmt::format("recorded lengths: sequence {}: expected at most {} tokens, got {}", place, seq, tokens));
    }
    return {.lengths = lengths, .padding = seq - tokens};
  }

  Documents operator()(const SharedPacked& model) const {
    const std::vector<std::int64_t>& pattern = model->documents;
    // (index * seq) modulo the pattern, without the overflow of the product.
    const std::int64_t period = sum(pattern);
    auto skip = static_cast<std::int64_t>(static_cast<__int128>(index) * seq % period);
    std::size_t next = 0;
    for (; skip >= pattern[next]; ++next) skip -= pattern[next];
    Documents out;
    for (std::int64_t room = seq; room > 0; next = (next + 1) % pattern.size(), skip = 0) {
      out.lengths.push_back(std::min(pattern[next] - skip, room));
      room -= out.lengths.back();
    }
    return out;
  }
};

struct Describe {
  std::string operator()(const FixedLengths&) const { return "one document each"; }
  std::string operator()(const HistogramLengths& model) const {
    return fmt::format("drawn from {} lengths (seed {})", model.documents.size(), model.seed);
  }
  std::string operator()(const SharedRecorded& model) const {
    return fmt::format("{} recorded sequences", model->sequences.size());
  }
  std::string operator()(const SharedPacked& model) const {
    return fmt::format("packed from {} documents", model->documents.size());
  }
};

/// Keys that the first `t` queries of a document of `length` tokens see, all together.
double pairs_until(double t, double length, const AttentionMask& mask) {
  const auto window = static_cast<double>(mask.window);
  const bool limited = mask.window > 0;
  if (limited && mask.chunked) {
    const double blocks = std::floor(t / window), rest = t - blocks * window;
    const double block = mask.causal ? window * window / 2.0 : window * window;
    const double last = std::min(window, length - blocks * window);  // the block of query t may end early
    return blocks * block + (mask.causal ? rest * rest / 2.0 : rest * last);
  }
  if (!mask.causal) return t * (limited ? std::min(window, length) : length);
  if (!limited || t <= window) return t * t / 2.0;
  return window * t - window * window / 2.0;
}

/// Positions of a sequence.
struct Range {
  double begin = 0.0, end = 0.0;
};

/// The two chunks of a rank.
std::array<Range, 2> zigzag(std::int64_t rank, std::int64_t size, double chunk) {
  const auto early = static_cast<double>(rank), late = static_cast<double>(2 * size - 1 - rank);
  return {Range{early * chunk, (early + 1.0) * chunk}, Range{late * chunk, (late + 1.0) * chunk}};
}

/// Pairs of the queries of one chunk and the keys of another one or of the same.
double pairs_between(const Documents& documents, const AttentionMask& mask, const Range& queries, const Range& keys) {
  CHECK(mask.window == 0, mask.window);
  if (mask.causal && keys.begin > queries.begin) return 0.0;
  double pairs = 0.0, first = 0.0;
  for (const std::int64_t tokens : documents.lengths) {
    const double last = first + static_cast<double>(tokens);
    const auto inside = [&](const Range& range) {
      return std::max(0.0, std::min(range.end, last) - std::max(range.begin, first));
    };
    const bool triangle = mask.causal && keys.begin == queries.begin;
    pairs += inside(queries) * inside(keys) * (triangle ? 0.5 : 1.0);
    first = last;
  }
  return pairs;
}

}  // namespace

bool is_fixed(const SequenceModel& model) { return std::holds_alternative<FixedLengths>(model); }

std::string describe(const SequenceModel& model) { return std::visit(Describe{}, model); }

Documents documents(const SequenceModel& model, std::int64_t index, std::int64_t seq) {
  CHECK(index >= 0 && seq >= 1, index, seq);
  return std::visit(Packer{index, seq}, model);
}

std::int64_t first_too_long(const SequenceModel& model, std::int64_t seq) {
  const auto* recorded = std::get_if<SharedRecorded>(&model);
  if (recorded == nullptr) return -1;
  const auto& sequences = (*recorded)->sequences;
  const auto found =
      std::find_if(sequences.begin(), sequences.end(), [&](const auto& lengths) { return sum(lengths) > seq; });
  return found == sequences.end() ? -1 : found - sequences.begin();
}

AttentionMask mask_of(const AttentionShape& shape) {
  return {.causal = shape.causal, .window = shape.window, .chunked = shape.chunked};
}

double attention_pairs(const Documents& documents, const AttentionMask& mask, double begin, double end) {
  double pairs = 0.0, first = 0.0;
  for (const std::int64_t tokens : documents.lengths) {
    const auto length = static_cast<double>(tokens);
    const double from = std::clamp(begin - first, 0.0, length), to = std::clamp(end - first, 0.0, length);
    if (to > from) pairs += pairs_until(to, length, mask) - pairs_until(from, length, mask);
    first += length;
  }
  return pairs;
}

ContextSlice slice_of(const Strategy& strategy, std::int64_t cp_rank, std::int64_t round) {
  if (strategy.cp == 1 || strategy.cp_kind == ContextParallel::ulysses) return {};
  return {.rank = cp_rank, .size = strategy.cp, .round = strategy.cp_kind == ContextParallel::ring ? round : -1};
}

double attention_share(const Documents& documents, const AttentionMask& mask, std::int64_t seq,
                       const ContextSlice& slice) {
  const auto tokens = static_cast<double>(seq), size = static_cast<double>(slice.size);
  const double whole = attention_pairs({.lengths = {seq}}, mask, 0.0, tokens);
  if (slice.size == 1) return attention_pairs(documents, mask, 0.0, tokens) / whole;
  const double chunk = tokens / (2.0 * size);
  double pairs = 0.0;
  for (const Range& queries : zigzag(slice.rank, slice.size, chunk)) {
    if (slice.round < 0) {
      pairs += attention_pairs(documents, mask, queries.begin, queries.end);
      continue;
    }
    const std::int64_t from = (slice.rank + slice.size - slice.round % slice.size) % slice.size;
    for (const Range& keys : zigzag(from, slice.size, chunk)) pairs += pairs_between(documents, mask, queries, keys);
  }
  return pairs / (whole / (slice.round < 0 ? size : size * size));
}

std::int64_t first_sequence(std::int64_t step, std::int64_t global_batch, std::int64_t dp_rank,
                            std::int64_t num_micro_batches, std::int64_t sequences_per_micro_batch,
                            std::int64_t micro_batch) {
  return step * global_batch + (dp_rank * num_micro_batches + micro_batch) * sequences_per_micro_batch;
}

}  // namespace orrery
