// SPDX-License-Identifier: Apache-2.0
#include "cli/topology_picture.h"

#include "base/units_format.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <tuple>

#include <fmt/format.h>

namespace orrery::cli {
namespace {

using topology::Link;
using topology::LinkGraph;
using topology::LinkKind;
using topology::PlaceKind;

double rate_of(const Link& link) {
  return link.bandwidth ? link.bandwidth->in(unit::byte_per_second) : -1.0;  // unknown is a rate of its own
}

std::string text_of(double rate) {
  if (rate < 0.0) return "unknown";
  return std::isinf(rate) ? "unlimited" : to_text(bytes_per_second(rate));
}

/// Colours of places, refined until all places of a colour have the same links to places of every colour: the coarsest
/// such partition (colour refinement, as for isomorphism of graphs).
std::vector<std::size_t> colours_of(const LinkGraph& graph) {
  using Neighbour = std::tuple<LinkKind, double, std::size_t>;
  std::vector<std::size_t> colour(graph.places.size());
  std::map<std::pair<PlaceKind, std::size_t>, std::size_t> first;
  for (std::size_t i = 0; i < colour.size(); ++i) {
    colour[i] = first.try_emplace({graph.places[i].kind, graph.places[i].group}, first.size()).first->second;
  }
  for (std::size_t num_colours = first.size();;) {
    std::vector<std::vector<Neighbour>> around(colour.size());
    for (const Link& link : graph.links) {
      around[link.from.index()].emplace_back(link.kind, rate_of(link), colour[link.to.index()]);
    }
    std::map<std::pair<std::size_t, std::vector<Neighbour>>, std::size_t> finer;
    std::vector<std::size_t> next(colour.size());
    for (std::size_t i = 0; i < colour.size(); ++i) {
      std::sort(around[i].begin(), around[i].end());
      next[i] = finer.try_emplace({colour[i], std::move(around[i])}, finer.size()).first->second;
    }
    colour = std::move(next);
    if (finer.size() == num_colours) return colour;
    num_colours = finer.size();
  }
}

std::string links_text(std::int64_t from_below, std::int64_t from_above, double rate) {
  std::string text = from_below == 1 ? text_of(rate) : fmt::format("{} x {}", from_below, text_of(rate));
  if (from_above > 1) text += fmt::format(", {} from above", from_above);
  return text;
}

}  // namespace

std::string_view name_of(PlaceKind kind) {
  constexpr std::string_view kNames[] = {"scale-up domain", "device",  "host",  "NIC", "leaf switch",
                                         "router",          "gateway", "spine", "core"};
  return kNames[static_cast<std::size_t>(kind)];
}

std::string_view name_of(LinkKind kind) {
  constexpr std::string_view kNames[] = {"scale-up", "PCIe", "slot",   "NIC",    "uplink",
                                         "core",     "hop",  "global", "gateway"};
  return kNames[static_cast<std::size_t>(kind)];
}

Picture picture_of(const topology::Topology& topology, std::size_t most_places) {
  const LinkGraph& graph = topology.graph();
  const bool fold = graph.places.size() > most_places;
  std::vector<std::size_t> colour(graph.places.size());
  for (std::size_t i = 0; i < colour.size(); ++i) colour[i] = i;
  if (fold) colour = colours_of(graph);

  // One box for each colour, the first of its places to speak for it; layers from below.
  std::map<std::size_t, std::size_t> representative;
  std::map<std::size_t, std::int64_t> counts;
  for (std::size_t i = 0; i < colour.size(); ++i) {
    representative.try_emplace(colour[i], i);
    ++counts[colour[i]];
  }
  std::vector<std::size_t> order;  // places
  for (const auto& [ignored, place] : representative) order.push_back(place);
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return std::pair(graph.places[a].kind, a) < std::pair(graph.places[b].kind, b);
  });
  Picture picture;
  std::map<std::size_t, std::size_t> box_of;  // by colour
  for (const std::size_t place : order) {
    const std::int64_t count = counts[colour[place]];
    box_of[colour[place]] = picture.boxes.size();
    picture.boxes.push_back(
        {.kind = graph.places[place].kind,
         .name = count == 1 ? graph.places[place].name : std::string(name_of(graph.places[place].kind)),
         .count = count,
         .inner = {}});
  }

  // Links of the representatives, both ways, counted.
  std::map<std::tuple<std::size_t, std::size_t, double>, std::int64_t> number;
  std::set<std::size_t> speak(order.begin(), order.end());
  for (const Link& link : graph.links) {
    if (!speak.contains(link.from.index())) continue;
    ++number[{box_of[colour[link.from.index()]], box_of[colour[link.to.index()]], rate_of(link)}];
  }
  for (const auto& [key, count] : number) {
    const auto& [from, to, rate] = key;
    if (from == to) picture.boxes[from].inner.push_back(links_text(count, 1, rate));
    if (from >= to) continue;
    picture.lines.push_back({.from = from, .to = to, .label = links_text(count, number.at({to, from, rate}), rate)});
  }
  return picture;
}

}  // namespace orrery::cli
