// SPDX-License-Identifier: Apache-2.0
#include "program/expert_placement.h"

#include "base/check.h"
#include "base/json_reader.h"
#include "base/json_writer.h"

#include <limits>
#include <span>
#include <utility>

#include <fmt/format.h>

namespace orrery {
namespace {

constexpr std::int64_t kMostExperts = 1 << 16;

/// Reports what `ranks` break; the experts in the order of their positions.
std::vector<std::int32_t> read_ranks(const JsonValue& in, const PlacementRules& rules) {
  const std::vector<JsonValue> ranks = in.array();
  if (in.kind() == JsonKind::array && std::cmp_not_equal(ranks.size(), rules.ep)) {
    in.problem(fmt::format("expected the experts of {} ranks, got those of {}", rules.ep, ranks.size()));
  }
  std::vector<std::int32_t> experts;
  std::vector<int> num_places(static_cast<std::size_t>(rules.num_experts), 0);
  std::size_t of_each = 0;
  for (const JsonValue& rank : ranks) {
    const std::vector<JsonValue> held = rank.array();
    if (experts.empty()) of_each = held.size();
    if (held.size() != of_each) {
      rank.problem(fmt::format("expected {} experts as on the first rank, got {}", of_each, held.size()));
    }
    for (const JsonValue& value : held) {
      const auto expert = value.integer<std::int32_t>({.min = 0, .max = rules.num_experts - 1});
      experts.push_back(expert);
      if (++num_places[static_cast<std::size_t>(expert)] > 1 && rules.once) {
        value.problem(fmt::format("expected each expert on one rank, got {} again", expert));
      }
    }
  }
  for (std::size_t expert = 0; expert < num_places.size(); ++expert) {
    if (num_places[expert] > 0 || in.kind() != JsonKind::array) continue;
    in.problem(fmt::format("expected every expert on a rank, got none for expert {}", expert));
    break;
  }
  return experts;
}

}  // namespace

std::int32_t ExpertPlacement::expert_at(std::int64_t layer, std::int64_t position) const {
  const auto found = layers.find(layer);
  if (found == layers.end()) return static_cast<std::int32_t>(position);
  return found->second.at(static_cast<std::size_t>(position));
}

std::vector<std::int32_t> ExpertPlacement::positions(std::int64_t layer, std::int64_t num_experts) const {
  std::vector<std::int32_t> out(static_cast<std::size_t>(num_experts), -1);
  for (std::int64_t position = 0; position < num_experts; ++position) {
    out.at(static_cast<std::size_t>(expert_at(layer, position))) = static_cast<std::int32_t>(position);
  }
  return out;
}

RoutingMatrix by_position(const ExpertPlacement& placement, std::int64_t layer, RoutingMatrix by_expert) {
  const auto found = placement.layers.find(layer);
  if (found == placement.layers.end()) return by_expert;
  const std::vector<std::int32_t>& experts = found->second;
  CHECK(std::cmp_equal(experts.size(), by_expert.num_experts), layer, experts.size(), by_expert.num_experts);
  // Tokens were counted between ranks, of experts in their order.
  RoutingMatrix out{.group = by_expert.group, .num_experts = by_expert.num_experts};
  out.pairs.reserve(by_expert.pairs.size());
  for (std::int64_t source = 0; source < out.group; ++source) {
    for (const std::int32_t expert : experts) out.pairs.push_back(by_expert.at(source, expert));
  }
  return out;
}

RoutingMatrix placed_routing(const LoadModel& load, const ExpertPlacement& placement, const RoutingQuery& query) {
  return by_position(placement, query.layer, routing(load, query));
}

void write_layers(JsonWriter& out, const ExpertPlacement& placement, std::int64_t ep) {
  out.begin_array();
  for (const auto& [layer, experts] : placement.layers) {
    CHECK(ep > 0 && experts.size() % static_cast<std::size_t>(ep) == 0, layer, experts.size(), ep);
    const std::size_t of_each = experts.size() / static_cast<std::size_t>(ep);
    out.begin_object().field("layer", layer).key("ranks").begin_array();
    for (std::size_t first = 0; first < experts.size(); first += of_each) {
      out.begin_array();
      for (const std::int32_t expert : std::span(experts).subspan(first, of_each)) out.value(expert);
      out.end_array();
    }
    out.end_array().end_object();
  }
  out.end_array();
}

ExpertPlacement read_layers(const JsonValue& in, const PlacementRules& rules) {
  ExpertPlacement placement;
  for (const JsonValue& value : in.array()) {
    const JsonObject object = value.object();
    const JsonValue layer = object.required("layer");
    const auto index = layer.integer({.min = 0, .max = std::numeric_limits<std::int16_t>::max()});
    if (!placement.layers.emplace(index, read_ranks(object.required("ranks"), rules)).second) {
      layer.problem(fmt::format("expected each layer once, got {} again", index));
    }
    object.finish();
  }
  if (in.kind() == JsonKind::array && placement.layers.empty()) in.problem("expected at least one layer, got none");
  return placement;
}

std::string to_json(const PlacementFile& file) {
  JsonWriter out;
  out.begin_object().field("schema", "placement/1").field("model", file.model);
  out.field("experts", file.num_experts).field("ep", file.ep).key("layers");
  write_layers(out, file.placement, file.ep);
  out.end_object();
  return out.text();
}

PlacementFile read_placement(const std::string& path) {
  const JsonDocument document = JsonDocument::parse_file(path);
  const JsonObject in = document.root();
  in.schema("placement/1");
  PlacementFile file;
  file.model = in.required("model").string();
  file.num_experts = in.required("experts").integer({.min = 1, .max = kMostExperts});
  file.ep = in.required("ep").integer({.min = 1, .max = kMostExperts});
  const JsonValue layers = in.required("layers");
  if (document.problems().empty()) {
    file.placement = read_layers(layers, {.num_experts = file.num_experts, .ep = file.ep, .once = false});
  }
  in.finish();
  document.throw_if_problems();
  return file;
}

}  // namespace orrery
