// SPDX-License-Identifier: Apache-2.0
// How many multiprocessors a two-level exchange needs so that they are not what limits it: they read tokens, write the
// copies for the network and for the ranks of a domain, and have to keep up with the slower of the two links.
// Source: the analytical rule of DeepEP V2 (deepseek-ai/DeepEP), whose published table it reproduces.
#pragma once

#include "base/units.h"

#include <cstdint>
#include <optional>

namespace orrery::costmodel {

struct TwoLevelExchange {
  std::int64_t num_experts = 0, top_k = 0;
  std::int64_t num_ranks = 0, num_domains = 0;  // of the group; a domain is what NVLink joins
  /// Node-limited routing: equal groups of experts, and how many of them a token may use.
  std::int64_t num_groups = 1, top_k_groups = 1;
  BytesPerSecond network, scale_up;  // of one rank
};

/// Of its own kernels, never more than `num_sms`. `overlapped`: beside compute, which then has the others; alone it
/// takes 64 or more. Nothing where the rule does not hold: within one domain, and with node-limited routing, for which
/// DeepSeek-V3 states 20.
/// Requires: num_domains divides num_ranks, num_ranks divides num_experts.
std::optional<std::int64_t> needed_multiprocessors(const TwoLevelExchange& exchange, std::int64_t num_sms,
                                                   bool overlapped);

}  // namespace orrery::costmodel
