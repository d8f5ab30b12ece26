// SPDX-License-Identifier: Apache-2.0
#include "sim/link_use_json.h"

#include "base/json_reader.h"
#include "base/json_writer.h"

namespace orrery::sim {

std::string to_json(const UseOfLinks& use) {
  JsonWriter out(JsonWriter::Layout::line);
  out.begin_object().field("slice", use.slice.in(unit::second)).field("fullest", use.fullest);
  out.key("classes").begin_array();
  for (const UseOfLinks::Class& of : use.classes) {
    out.begin_object().field("name", of.name).field("cut", of.cut).key("track").begin_array();
    for (const double used : of.track) out.value(used);
    out.end_array().end_object();
  }
  out.end_array().key("links").begin_array();
  for (const LinkUse& link : use.links) {
    out.begin_object().field("name", link.name).field("class", link.link_class);
    out.field("bytes", link.size.in(unit::byte)).field("mean", link.mean).field("peak", link.peak).end_object();
  }
  out.end_array().end_object();
  return out.text();
}

UseOfLinks read_use_of_links(const std::string& text) {
  const JsonDocument document = JsonDocument::parse_text(text, "use of links");
  const JsonObject in = document.root();
  UseOfLinks use;
  use.slice = seconds(in.required("slice").number());
  use.fullest = in.required("fullest").number();
  for (const JsonValue& value : in.required("classes").array()) {
    const JsonObject of = value.object();
    UseOfLinks::Class& added = use.classes.emplace_back();
    added.name = of.required("name").string();
    added.cut = of.required("cut").number();
    for (const JsonValue& used : of.required("track").array()) added.track.push_back(used.number());
    of.finish();
  }
  for (const JsonValue& value : in.required("links").array()) {
    const JsonObject link = value.object();
    use.links.push_back({.name = link.required("name").string(),
                         .link_class = link.required("class").string(),
                         .size = bytes(link.required("bytes").number()),
                         .mean = link.required("mean").number(),
                         .peak = link.required("peak").number()});
    link.finish();
  }
  in.finish();
  document.throw_if_problems();
  return use;
}

}  // namespace orrery::sim
