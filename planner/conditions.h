// SPDX-License-Identifier: Apache-2.0
// What users demand of a plan: conditions on dimensions, which take values out of the domains before a search.
#pragma once

#include "base/units.h"
#include "planner/domains.h"

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace orrery::planner {

/// Keeps the values that meet every one of `conditions`: a dimension as the manifest names it, a relation (= != <= >= <
/// >) and a value or, with = and !=, values between commas: "pp=8", "tp<=8", "schedule=zb_h1,zbv", "recompute!=full".
/// Only numbers are more or less than others. A condition that lists values (=) demands them: of what is searched on
/// demand alone, and of a dimension that a search caps (micro_batch, vpp), what is legal is searched then. Spaces and
/// capitals mean nothing, and "at most", "at least", "is", "is not", "below" and "above" are relations too. Throws:
/// ConfigError: an unknown dimension, no relation or no value in the text, a name with a relation of order, a value
/// that the dimension has not and could not have (names), or nothing left; of several conditions those that contradict
/// each other are named.
void keep_where(Domains& domains, std::span<const std::string> conditions);
void keep_where(Domains& domains, const std::string& condition);

/// Without spaces, capitals and words: "tp<=8" for "TP <= 8 " and "TP at most 8".
std::string normal_condition(std::string_view text);

/// Takes conditions on memory out of `conditions`, such as "memory<=70 GiB" or "at most 70 GiB": the least of what they
/// and `limit` allow a device. Throws: ConfigError: memory is in no such relation to a size with its unit.
std::optional<Bytes> take_memory_limit(std::vector<std::string>& conditions, std::optional<Bytes> limit);

}  // namespace orrery::planner
