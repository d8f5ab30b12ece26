// SPDX-License-Identifier: Apache-2.0
// A cluster as boxes and lines. A small one place by place; of a larger one, places that look the same from everywhere
// are one box with their number, so that 2048 devices are drawn as one node, one leaf and one spine.
#pragma once

#include "program/topology/topology.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace orrery::cli {

struct Picture {
  struct Box {
    topology::PlaceKind kind = topology::PlaceKind::device;
    std::string name;
    std::int64_t count = 1;          // places that it stands for
    std::vector<std::string> inner;  // links to its like, where those are in the same box
  };
  struct Line {
    std::size_t from = 0, to = 0;  // into boxes; `to` is not below `from`
    std::string label;
  };
  std::vector<Box> boxes;  // in layers from below
  std::vector<Line> lines;
};

inline constexpr std::size_t kMostPlaces = 100;

/// Folded if there are more than `most_places` places.
Picture picture_of(const topology::Topology& topology, std::size_t most_places = kMostPlaces);

std::string_view name_of(topology::PlaceKind kind);
std::string_view name_of(topology::LinkKind kind);

/// Graphviz, for `dot`.
std::string dot_text(const Picture& picture, const std::string& title);
std::string svg_text(const Picture& picture, const std::string& title);

}  // namespace orrery::cli
