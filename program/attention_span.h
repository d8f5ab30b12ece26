// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstdint>

// Which keys a query of a causal attention sees. Most layers see all that came before; some models give every second
// or fourth layer a short view, which makes its cost linear in the sequence.

namespace orrery {

struct AttentionSpan {
  /// Tokens; 0: everything before the query. A query always sees itself.
  std::int64_t window = 0;
  /// false: the last `window` tokens, the query's own included (Mistral, GPT-OSS). true: the sequence is cut every
  /// `window` tokens and a query sees what came before it in its own piece (Llama 4).
  bool chunked = false;

  bool is_full() const { return window == 0; }
  auto operator<=>(const AttentionSpan&) const = default;
};

/// (query, key) pairs of one head in a sequence of `seq` tokens, the diagonal included: seq (seq + 1) / 2 for a full
/// span. Requires: seq >= 0, window >= 0.
std::int64_t visible_pairs(const AttentionSpan& span, std::int64_t seq);

}  // namespace orrery
