// SPDX-License-Identifier: Apache-2.0
#include "costmodel/exchange_multiprocessors.h"

#include "base/check.h"
#include "program/work.h"

#include <algorithm>
#include <cmath>

namespace orrery::costmodel {
namespace {

// GB/s that one multiprocessor reads and writes, a margin, and limits: DeepEP V2.
constexpr double kRead = 200.0, kWrite = 50.0, kMargin = 1.25;
constexpr double kFewest = 4.0, kFewestAlone = 64.0;

}  // namespace

std::optional<std::int64_t> needed_multiprocessors(const TwoLevelExchange& exchange, std::int64_t num_sms,
                                                   bool overlapped) {
  CHECK(exchange.num_domains >= 1 && exchange.num_ranks % exchange.num_domains == 0, exchange.num_ranks);
  if (exchange.num_domains == 1 || exchange.top_k_groups < exchange.num_groups) return std::nullopt;
  const auto domains = static_cast<double>(exchange.num_domains);
  const double in_domain = static_cast<double>(exchange.num_ranks) / domains;
  // Traffic of a token, counted in the copies that ranks receive.
  const double to_ranks = expected_distinct(exchange.num_experts, exchange.top_k, exchange.num_ranks);
  const double to_domains = expected_distinct(exchange.num_experts, exchange.top_k, exchange.num_domains);
  const double read = (1.0 + to_domains) / to_ranks;
  const double written = (1.0 + to_domains / domains) / to_ranks + 1.0;
  const double over_network = to_domains / to_ranks * (1.0 - 1.0 / domains);
  const double over_scale_up = 1.0 - 1.0 / in_domain;
  const double busy = std::max(over_network / exchange.network.in(unit::gigabytes_per_second),
                               over_scale_up / exchange.scale_up.in(unit::gigabytes_per_second));
  const double needed = std::ceil(kMargin * std::max(read / kRead, written / kWrite) / busy);
  const double even = 2.0 * std::ceil(std::max(needed, overlapped ? kFewest : kFewestAlone) / 2.0);
  return std::min(static_cast<std::int64_t>(even), num_sms);
}

}  // namespace orrery::costmodel
