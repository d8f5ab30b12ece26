// SPDX-License-Identifier: Apache-2.0
#include "planner/sweep.h"

#include "base/json_reader.h"
#include "base/json_writer.h"

#include <utility>

namespace orrery::planner {
namespace {

constexpr IntegerRange kPositive{.min = 1};

std::vector<std::string> strings(const JsonValue& value) {
  std::vector<std::string> out;
  for (const JsonValue& element : value.array()) out.push_back(element.string());
  return out;
}

std::vector<std::string> names(const JsonValue& value) {
  std::vector<std::string> out = strings(value);
  if (out.empty()) value.problem("expected at least one name");
  return out;
}

std::vector<std::int64_t> numbers(const JsonValue& value) {
  std::vector<std::int64_t> out;
  for (const JsonValue& element : value.array()) out.push_back(element.integer(kPositive));
  if (out.empty()) value.problem("expected at least one number");
  return out;
}

std::vector<SweepPoint> read(const JsonDocument& document) {
  const JsonObject in = document.root();
  in.schema("sweep/1");
  const std::vector<std::string> models = names(in.required("models")), clusters = names(in.required("clusters"));
  std::vector<std::int64_t> nodes = {0};
  if (const OptionalJsonValue given = in.optional("nodes"); given.present()) nodes = numbers(given.value());
  const std::vector<std::int64_t> sequences = numbers(in.required("sequence"));
  const std::vector<std::int64_t> batches = numbers(in.required("global_batch"));
  std::vector<std::vector<std::string>> conditions;
  for (const JsonValue& value : in.optional("where").array().value_or(std::vector<JsonValue>())) {
    conditions.push_back(strings(value));
  }
  if (conditions.empty()) conditions = {{}};
  in.finish();
  document.throw_if_problems();

  std::vector<SweepPoint> points;
  for (const std::string& model : models)
    for (const std::string& cluster : clusters)
      for (const std::int64_t num_nodes : nodes)
        for (const std::int64_t seq : sequences)
          for (const std::int64_t batch : batches)
            for (const std::vector<std::string>& where : conditions)
              points.push_back({model, cluster, num_nodes, seq, batch, where, {}});
  return points;
}

}  // namespace

std::vector<SweepPoint> read_sweep(const std::string& path) { return read(JsonDocument::parse_file(path)); }

std::vector<SweepPoint> read_sweep_text(std::string_view text, const std::string& name) {
  return read(JsonDocument::parse_text(text, name));
}

void write_point(JsonWriter& out, const SweepPoint& point) {
  out.field("model", point.model).field("cluster", point.cluster).field("nodes", point.num_nodes);
  out.field("sequence", point.seq).field("global_batch", point.global_batch).key("where").begin_array();
  for (const std::string& condition : point.where) out.value(condition);
  out.end_array();
  if (!point.with.empty()) out.field("with", point.with);
}

SweepPoint read_point(const JsonObject& in) {
  return {.model = in.required("model").string(),
          .cluster = in.required("cluster").string(),
          .num_nodes = in.required("nodes").integer({.min = 0}),
          .seq = in.required("sequence").integer(kPositive),
          .global_batch = in.required("global_batch").integer(kPositive),
          .where = strings(in.required("where")),
          .with = in.optional("with").string().value_or("")};
}

}  // namespace orrery::planner
