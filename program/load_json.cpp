// SPDX-License-Identifier: Apache-2.0
// The "load" of a plan's workload: "balanced", or an object with its kind and parameters.
#include "base/check.h"
#include "program/json_parts.h"

#include <limits>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace orrery {
namespace {

constexpr double kLeastAlpha = 1e-3;  // below, one expert gets every token within rounding
constexpr double kMost = 1e6;
constexpr double kMostWeight = 1e15;  // sums of pairs stay exact

struct LoadWriter {
  JsonWriter& out;

  void operator()(const BalancedLoad&) const { out.value("balanced"); }
  void operator()(const DirichletLoad& load) const {
    out.begin_object().field("kind", "dirichlet").field("alpha", load.alpha).field("seed", load.seed).end_object();
  }
  void operator()(const ZipfLoad& load) const {
    out.begin_object().field("kind", "zipf").field("exponent", load.exponent).field("seed", load.seed).end_object();
  }
  void operator()(const std::shared_ptr<const PopularityLoad>& load) const {
    out.begin_object().field("kind", "popularity").key("layers").begin_array();
    for (const auto& [layer, weights] : load->layers) {
      out.begin_object().field("layer", layer).key("experts").begin_array();
      for (const double weight : weights) out.value(weight);
      out.end_array().end_object();
    }
    out.end_array().end_object();
  }
  void operator()(const std::shared_ptr<const RecordedLoad>&) const {
    CHECK(false, "a recorded load has no file form");
  }
};

PopularityLoad read_popularity(const JsonObject& in) {
  PopularityLoad load;
  const JsonValue layers = in.required("layers");
  for (const JsonValue& value : layers.array()) {
    const JsonObject object = value.object();
    const JsonValue layer = object.required("layer"), experts = object.required("experts");
    std::vector<double> weights;
    for (const JsonValue& weight : experts.array()) weights.push_back(weight.number({.min = 0.0, .max = kMostWeight}));
    object.finish();
    if (experts.kind() == JsonKind::array && std::accumulate(weights.begin(), weights.end(), 0.0) <= 0.0) {
      experts.problem("expected at least one expert of a popularity above 0");
    }
    const auto index = layer.integer({.min = 0, .max = std::numeric_limits<std::int16_t>::max()});
    if (!load.layers.emplace(index, std::move(weights)).second) {
      layer.problem(fmt::format("expected each layer once, got {} again", index));
    }
  }
  if (layers.kind() == JsonKind::array && load.layers.empty()) layers.problem("expected at least one layer, got none");
  return load;
}

LoadModel read_assumed(const JsonObject& in) {
  const JsonValue kind = in.required("kind");
  const auto seed = [&] { return in.required("seed").integer<std::uint64_t>(); };
  LoadModel load;
  if (kind.is_text("dirichlet")) {
    load = DirichletLoad{.alpha = in.required("alpha").number({.min = kLeastAlpha, .max = kMost}), .seed = seed()};
  } else if (kind.is_text("zipf")) {
    load = ZipfLoad{.exponent = in.required("exponent").number({.min = 0.0, .max = kMost}), .seed = seed()};
  } else if (kind.is_text("popularity")) {
    load = std::make_shared<const PopularityLoad>(read_popularity(in));
  } else {
    kind.one_of({"dirichlet", "zipf", "popularity"});
    return load;  // which keys belong to it is anyone's guess
  }
  in.finish();
  return load;
}

}  // namespace

LoadModel read_load(const JsonValue& in) {
  if (in.is_text("balanced")) return BalancedLoad{};
  if (in.kind() == JsonKind::object) return read_assumed(in.object());
  in.problem("expected \"balanced\" or an object with the kind of the load");
  return BalancedLoad{};
}

void write_load(JsonWriter& out, const LoadModel& load) { std::visit(LoadWriter{out}, load); }

}  // namespace orrery
