// SPDX-License-Identifier: Apache-2.0
// disturbances/1 (docs/formats/disturbances.md).
#include "base/json_reader.h"
#include "base/json_writer.h"
#include "base/units_parse.h"
#include "program/disturbances.h"

namespace orrery {
namespace {

constexpr NumberRange kFactor{.min = 1e-3, .max = 1e3}, kSigma{.min = 0.0, .max = 1.0}, kShare{.min = 0.0, .max = 1.0};
constexpr IntegerRange kIndex{.min = 0};

Interval read_interval(const JsonObject& in) {
  Interval when{.from = in.optional("from").quantity<Seconds>().value_or(Seconds::zero()),
                .until = in.optional("until").quantity<Seconds>()};
  if (when.until && *when.until <= when.from) in.problem("expected \"until\" to be later than \"from\"");
  return when;
}

LinkFault read_fault(const JsonObject& in) {
  LinkFault fault{.link = in.required("link").one_of<LinkClass>(kLinkClassNames),
                  .node = in.required("node").integer(kIndex),
                  .left = in.required("left").number(kShare),
                  .when = read_interval(in),
                  .nic = in.optional("nic").integer(kIndex),
                  .plane = in.optional("plane").integer(kIndex),
                  .uplink = in.optional("uplink").integer(kIndex)};
  if (fault.nic && fault.link != LinkClass::nic) in.problem("expected \"nic\" with the link \"nic\" only");
  if ((fault.plane || fault.uplink) && fault.link != LinkClass::uplink) {
    in.problem("expected \"plane\" and \"uplink\" with the link \"uplink\" only");
  }
  if (fault.plane && fault.uplink) in.problem("expected \"plane\" or \"uplink\", got both");
  in.finish();
  return fault;
}

Disturbances read(const JsonDocument& document) {
  const JsonObject in = document.root();
  in.schema("disturbances/1");
  Disturbances out;
  for (const JsonValue& value : in.optional("stragglers").array().value_or(std::vector<JsonValue>())) {
    const JsonObject straggler = value.object();
    out.stragglers.push_back(
        {.rank = straggler.required("rank").integer(kIndex), .factor = straggler.required("factor").number(kFactor)});
    straggler.finish();
  }
  if (const OptionalJsonValue value = in.optional("noise"); value.present()) {
    const JsonObject noise = value.value().object();
    out.noise = {.per_rank = noise.optional("per_rank").number(kSigma).value_or(0.0),
                 .per_op = noise.optional("per_op").number(kSigma).value_or(0.0),
                 .seed = noise.required("seed").integer<std::uint64_t>()};
    noise.finish();
  }
  for (const JsonValue& value : in.optional("links").array().value_or(std::vector<JsonValue>())) {
    out.links.push_back(read_fault(value.object()));
  }
  for (const JsonValue& value : in.optional("traffic").array().value_or(std::vector<JsonValue>())) {
    const JsonObject traffic = value.object();
    out.traffic.push_back({.from_node = traffic.required("from_node").integer(kIndex),
                           .to_node = traffic.required("to_node").integer(kIndex),
                           .rate = traffic.required("rate").quantity<BytesPerSecond>(),
                           .when = read_interval(traffic)});
    traffic.finish();
  }
  in.finish();
  document.throw_if_problems();
  return out;
}

void write(JsonWriter& out, const Interval& when) {
  if (when.from > Seconds::zero()) out.field("from", when.from);
  if (when.until) out.field("until", *when.until);
}

}  // namespace

Disturbances read_disturbances(const std::filesystem::path& path) { return read(JsonDocument::parse_file(path)); }

Disturbances read_disturbances_text(const std::string& text, const std::string& file) {
  return read(JsonDocument::parse_text(text, file));
}

std::string to_json(const Disturbances& disturbances) {
  JsonWriter out;
  out.begin_object().field("schema", "disturbances/1").key("stragglers").begin_array();
  for (const Straggler& straggler : disturbances.stragglers) {
    out.begin_object().field("rank", straggler.rank).field("factor", straggler.factor).end_object();
  }
  out.end_array();
  if (const ComputeNoise& noise = disturbances.noise; noise.is_some()) {
    out.key("noise").begin_object().field("per_rank", noise.per_rank).field("per_op", noise.per_op);
    out.field("seed", noise.seed).end_object();
  }
  out.key("links").begin_array();
  for (const LinkFault& fault : disturbances.links) {
    out.begin_object().field("link", name_of(kLinkClassNames, fault.link)).field("node", fault.node);
    out.field("left", fault.left);
    if (fault.nic) out.field("nic", *fault.nic);
    if (fault.plane) out.field("plane", *fault.plane);
    if (fault.uplink) out.field("uplink", *fault.uplink);
    write(out, fault.when);
    out.end_object();
  }
  out.end_array().key("traffic").begin_array();
  for (const ForeignTraffic& traffic : disturbances.traffic) {
    out.begin_object().field("from_node", traffic.from_node).field("to_node", traffic.to_node);
    out.field("rate", traffic.rate);
    write(out, traffic.when);
    out.end_object();
  }
  out.end_array().end_object();
  return out.text();
}

}  // namespace orrery
