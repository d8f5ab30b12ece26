// SPDX-License-Identifier: Apache-2.0
#include "program/attention_span.h"

#include "base/check.h"

namespace orrery {
namespace {

std::int64_t triangle(std::int64_t n) { return n * (n + 1) / 2; }

}  // namespace

std::int64_t visible_pairs(const AttentionSpan& span, std::int64_t seq) {
  CHECK(seq >= 0 && span.window >= 0, seq, span.window);
  if (span.is_full() || span.window >= seq) return triangle(seq);
  if (span.chunked) return seq / span.window * triangle(span.window) + triangle(seq % span.window);
  // The first `window` queries see all before them, the others `window` keys each.
  return triangle(span.window) + (seq - span.window) * span.window;
}

}  // namespace orrery
