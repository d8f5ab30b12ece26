// SPDX-License-Identifier: Apache-2.0
// A picture of boxes and lines as text for Graphviz and as SVG.
#include "cli/topology_picture.h"
#include "cli/xml_text.h"

#include <algorithm>
#include <map>

#include <fmt/format.h>

namespace orrery::cli {
namespace {

constexpr double kWidth = 170.0, kHeight = 52.0, kGapX = 24.0, kGapY = 78.0, kMargin = 20.0, kTitle = 40.0;

std::string_view colour_of(topology::PlaceKind kind) {
  constexpr std::string_view kColours[] = {"#d9ead3", "#fff2cc", "#eeeeee", "#cfe2f3", "#d0e0e3",
                                           "#d0e0e3", "#f4cccc", "#d9d2e9", "#ead1dc"};
  return kColours[static_cast<std::size_t>(kind)];
}

std::string dot_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c == '\n' ? "\\n" : std::string(1, c);
  }
  return out + "\"";
}

std::vector<std::string> text_of(const Picture::Box& box) {
  std::vector<std::string> lines = {box.count == 1 ? box.name : fmt::format("{} x {}", box.count, box.name)};
  for (const std::string& link : box.inner) lines.push_back("each: " + link);
  return lines;
}

struct Point {
  double x = 0.0, y = 0.0;
};

/// Centres of the boxes: a row for each kind of place, from below, spread evenly.
std::vector<Point> centres_of(const Picture& picture, Point& size) {
  std::map<topology::PlaceKind, std::vector<std::size_t>> rows;
  for (std::size_t i = 0; i < picture.boxes.size(); ++i) rows[picture.boxes[i].kind].push_back(i);
  std::size_t widest = 1;
  for (const auto& [kind, row] : rows) widest = std::max(widest, row.size());
  size.x = 2.0 * kMargin + static_cast<double>(widest) * (kWidth + kGapX);
  size.y = kTitle + 2.0 * kMargin + static_cast<double>(rows.size()) * (kHeight + kGapY) - kGapY;
  std::vector<Point> centres(picture.boxes.size());
  double y = size.y - kMargin - kHeight / 2.0;
  for (const auto& [kind, row] : rows) {
    const double room = (size.x - 2.0 * kMargin) / static_cast<double>(row.size());
    for (std::size_t i = 0; i < row.size(); ++i) {
      centres[row[i]] = {.x = kMargin + room * (static_cast<double>(i) + 0.5), .y = y};
    }
    y -= kHeight + kGapY;
  }
  return centres;
}

}  // namespace

std::string dot_text(const Picture& picture, const std::string& title) {
  std::string out = fmt::format("graph {} {{\n  rankdir=BT;\n  node [shape=box, style=filled];\n", dot_string(title));
  for (std::size_t i = 0; i < picture.boxes.size(); ++i) {
    std::string label;
    for (const std::string& line : text_of(picture.boxes[i])) label += (label.empty() ? "" : "\n") + line;
    out += fmt::format("  p{} [label={}, fillcolor=\"{}\"];\n", i, dot_string(label), colour_of(picture.boxes[i].kind));
  }
  for (const Picture::Line& line : picture.lines) {
    out += fmt::format("  p{} -- p{} [label={}];\n", line.from, line.to, dot_string(line.label));
  }
  return out + "}\n";
}

std::string svg_text(const Picture& picture, const std::string& title) {
  Point size;
  const std::vector<Point> centres = centres_of(picture, size);
  std::string out = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" height=\"{1:.0f}\" viewBox=\"0 0 {0:.0f} {1:.0f}\" "
      "font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
      "<text x=\"{2:.0f}\" y=\"26\" font-size=\"15\">{3}</text>\n",
      size.x, size.y, kMargin, xml_escaped(title));
  std::string labels;
  for (const Picture::Line& line : picture.lines) {
    const Point &a = centres[line.from], &b = centres[line.to];
    out += fmt::format(
        "<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"#777\"><title>{}</title></line>\n", a.x,
        a.y, b.x, b.y, xml_escaped(line.label));
    // Lines of a place-by-place picture are many and alike: their labels show on pointing at them.
    if (picture.lines.size() > picture.boxes.size() + 8) continue;
    labels += fmt::format(
        "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\" stroke=\"white\" stroke-width=\"3\" "
        "paint-order=\"stroke\">{}</text>\n",
        (a.x + b.x) / 2.0, (a.y + b.y) / 2.0 + 4.0, xml_escaped(line.label));
  }
  for (std::size_t i = 0; i < picture.boxes.size(); ++i) {
    const Picture::Box& box = picture.boxes[i];
    out += fmt::format(
        "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{}\" height=\"{}\" rx=\"4\" fill=\"{}\" stroke=\"#444\"/>\n",
        centres[i].x - kWidth / 2.0, centres[i].y - kHeight / 2.0, kWidth, kHeight, colour_of(box.kind));
    const std::vector<std::string> lines = text_of(box);
    double y = centres[i].y + 4.0 - 8.0 * (static_cast<double>(lines.size()) - 1.0);
    for (const std::string& line : lines) {
      out += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>\n", centres[i].x, y,
                         xml_escaped(line));
      y += 16.0;
    }
  }
  return out + labels + "</svg>\n";
}

}  // namespace orrery::cli
