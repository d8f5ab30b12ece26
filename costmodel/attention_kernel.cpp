// SPDX-License-Identifier: Apache-2.0
// KernelModel::attention: tensor cores multiply tiles of queries and keys, special-function units take exponentials of
// the scores between them, and masks leave parts of the tiles at their edges idle. docs/design/kernels.md.
#include "costmodel/kernel_model.h"

#include <algorithm>
#include <cmath>

namespace orrery::costmodel {
namespace {

// Queries that a block works on, two warp groups of 64 twice for the pipeline, and keys of a tile.
constexpr double kQueryRows = 256.0, kKeyColumns = 128.0;
// Keys that a query multiplies in vain at each edge of its mask: tiles are whole, and all queries of a block have the
// keys of its first and its last one.
constexpr double kKeysAtEdge = (kQueryRows + kKeyColumns) / 2.0;
// Of the longest block, what is left to do when the others of its multiprocessor have ended.
constexpr double kTail = 0.2;
// Passes over the scores of an attention that writes them: product, softmax with mask, dropout, and what reads each.
constexpr double kScorePassesForward = 6.0, kScorePassesBackward = 8.0;
// The backward multiplies five times where the forward multiplies twice. What lies between its products takes, over
// them, so much of what it takes forward: told by heads of 64 and 128 columns (docs/design/kernels.md).
constexpr double kBackwardProducts = 2.5, kBackwardExponentials = 0.45;
// The shares of the peak hold at so many columns of queries, keys and values together, and exponentials a clock.
constexpr double kSharesHoldAt = 256.0, kSharesHoldFor = 16.0;
// Multiprocessors at the clock for which data sheets state peaks: 1.4 to 2.1 GHz.
constexpr double kClock = 1.8e9;
// Kernels around a backward, bytes for each element of the queries: the output and its gradient are multiplied (4), a
// sum in f32 is zeroed (4), read and converted (6). Measured: 13 (docs/validation/gpu/h100-steps-fp8.jsonl).
constexpr double kAroundBackward = 14.0;

/// What heads of `width` columns reach of the peak, over what those do for which the shares hold, with as many
/// exponentials a clock as there: narrow heads have fewer products for each exponential. Wider ones reach no more, as
/// heads of 192 and 128 columns show. The first number is of the exponentials of a pair over its products, at the width
/// for which the shares hold.
double reached_at(double width, double exponentials_over_products, double exponentials) {
  const double now = exponentials_over_products * kSharesHoldFor / exponentials;
  return (1.0 + exponentials_over_products) / (1.0 + now * kSharesHoldAt / std::min(width, kSharesHoldAt));
}

/// Pairs of a query and a key that are multiplied in vain, of one head.
double masked_pairs(const AttentionShape& shape) {
  if (!shape.causal) return 0.0;
  const double queries = static_cast<double>(shape.seq), keys = static_cast<double>(shape.kv_seq);
  const double window = static_cast<double>(shape.window);
  const bool slides = shape.window > 0 && !shape.chunked && window < keys;
  return kKeysAtEdge * queries * (slides ? 2.0 - window / keys : 1.0);
}

}  // namespace

std::optional<Seconds> KernelModel::attention(Pass pass, const AttentionShape& shape, const Work& work) const {
  const auto peak = peak_of(shape.dtype);
  if (!peak) return std::nullopt;
  const bool forward = pass != Pass::igrad;
  const double heads = static_cast<double>(shape.batch * shape.heads);
  const double queries = static_cast<double>(shape.seq), keys = static_cast<double>(shape.kv_seq);
  const double width = static_cast<double>(shape.d_qk + shape.d_v);
  if (parameters_.attention == AttentionKernels::materialized) {
    const double scores = heads * queries * keys * static_cast<double>(size_of(shape.dtype));
    // A masked softmax spares no product: all pairs are multiplied, in two products forward and four backward.
    const double all = 2.0 * heads * queries * keys * width * (forward ? 1.0 : 2.0);
    const double traffic = scores * (forward ? kScorePassesForward : kScorePassesBackward);
    return seconds(all / (*peak * parameters_.matmul) + traffic / bandwidth_) +
           (forward ? 4.0 : 6.0) * parameters_.kernel;
  }
  const double products = forward ? 1.0 : kBackwardProducts;
  const double for_pair = 2.0 * width * products;
  const double exact = work.flops.in(unit::flop);
  // CPU ranks multiply no pair in vain, and have no units beside each other.
  const bool has_tiles = device_.kind != DeviceKind::cpu;
  const double masked = has_tiles ? heads * masked_pairs(shape) * for_pair : 0.0;
  const double operations = std::max(exact, std::min(exact + masked, heads * queries * keys * for_pair));
  // Of one pair where the shares hold, at the peaks of both units.
  const double multiplied = 2.0 * kSharesHoldAt / (*peak / state_.clock / num_sms_);
  const double exponential = device_.num_sms ? 1.0 / (kSharesHoldFor * kClock) : 0.0;
  const double of_fused = parameters_.attention == AttentionKernels::flash_2 ? parameters_.flash_2 : 1.0;
  const double reached =
      *peak * of_fused * (forward ? parameters_.attention_forward : parameters_.attention_backward) *
      reached_at(width, exponential / multiplied * (forward ? 1.0 : kBackwardExponentials), parameters_.exponentials);
  // Blocks are dealt longest first: of b blocks under a causal mask the last sees (2 b - 1) / b of the mean, and
  // multiprocessors end at different times; under a window, or without a mask, all see about the same.
  const double of_head = std::ceil(queries / kQueryRows);
  const bool is_uneven = shape.causal && shape.window == 0;
  const double skew = is_uneven ? (2.0 * of_head - 1.0) / of_head : 1.0;
  const double longest = skew * operations / (heads * of_head) / (reached / num_sms_);
  const double mean = operations / (reached * (free_sms_ / num_sms_));
  const double time = std::max(is_uneven && has_tiles ? mean + kTail * longest : mean, longest);
  const double around =
      forward || !has_tiles ? 0.0 : kAroundBackward * heads * queries * static_cast<double>(shape.d_qk) / bandwidth_;
  return seconds(std::max(time, (work.read + work.written).in(unit::byte) / bandwidth_) + around) +
         (forward ? 1.0 : 3.0) * parameters_.kernel;  // the backward prepares and converts in kernels of their own
}

}  // namespace orrery::costmodel
