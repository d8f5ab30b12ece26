// SPDX-License-Identifier: Apache-2.0
// 80 % intervals of predictions in files: {"low": ..., "high": ...}.
#pragma once

#include "base/json_reader.h"
#include "base/json_writer.h"
#include "program/plan.h"

#include <optional>
#include <string_view>

namespace orrery {

/// Nothing where the key is missing. Reports an interval that ends before it begins.
template <class Q>
std::optional<Interval80<Q>> read_interval_80(const JsonObject& in, std::string_view key) {
  const std::optional<JsonObject> object = in.optional(key).object();
  if (!object) return std::nullopt;
  const JsonValue low = object->required("low");
  Interval80<Q> out{.low = low.quantity<Q>(Sign::not_negative),
                    .high = object->required("high").quantity<Q>(Sign::not_negative)};
  if (out.high < out.low) low.problem("expected at most high, got more");
  object->finish();
  return out;
}

template <class Q>
void write_interval_80(JsonWriter& out, std::string_view key, const std::optional<Interval80<Q>>& interval) {
  if (interval) out.key(key).begin_object().field("low", interval->low).field("high", interval->high).end_object();
}

}  // namespace orrery
