// SPDX-License-Identifier: Apache-2.0
// The "load" of a plan's workload: "balanced", or an object with its kind and parameters.
#include "base/check.h"
#include "program/json_parts.h"

#include <limits>

namespace orrery {
namespace {

constexpr double kLeastAlpha = 1e-3;  // below, one expert gets every token within rounding
constexpr double kMost = 1e6;

struct LoadWriter {
  JsonWriter& out;

  void operator()(const BalancedLoad&) const { out.value("balanced"); }
  void operator()(const DirichletLoad& load) const {
    out.begin_object().field("kind", "dirichlet").field("alpha", load.alpha).field("seed", load.seed).end_object();
  }
  void operator()(const ZipfLoad& load) const {
    out.begin_object().field("kind", "zipf").field("exponent", load.exponent).field("seed", load.seed).end_object();
  }
  void operator()(const std::shared_ptr<const RecordedLoad>&) const {
    CHECK(false, "a recorded load has no file form");
  }
};

LoadModel read_assumed(const JsonObject& in) {
  const JsonValue kind = in.required("kind");
  const auto seed = [&] { return in.required("seed").integer<std::uint64_t>(); };
  LoadModel load;
  if (kind.is_text("dirichlet")) {
    load = DirichletLoad{.alpha = in.required("alpha").number({.min = kLeastAlpha, .max = kMost}), .seed = seed()};
  } else if (kind.is_text("zipf")) {
    load = ZipfLoad{.exponent = in.required("exponent").number({.min = 0.0, .max = kMost}), .seed = seed()};
  } else {
    kind.one_of({"dirichlet", "zipf"});
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
