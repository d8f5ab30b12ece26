// SPDX-License-Identifier: Apache-2.0
#include "cli/scatter_plot.h"

#include "cli/xml_text.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <string_view>

#include <fmt/format.h>

namespace orrery::cli {
namespace {

constexpr double kLeft = 70.0, kTop = 40.0, kSide = 620.0, kLegend = 210.0, kBottom = 50.0;
// Paul Tol's "muted" scheme, which colour-blind readers tell apart, and three more.
constexpr std::array<std::string_view, 12> kColours = {"#332288", "#88ccee", "#44aa99", "#117733",
                                                       "#999933", "#ddcc77", "#cc6677", "#882255",
                                                       "#aa4499", "#661100", "#6699cc", "#777777"};

/// One axis for both directions: decades that hold all points.
struct Scale {
  double low = -1.0, high = 1.0;  // decimal exponents

  double at(double seconds) const { return kSide * (std::log10(seconds) - low) / (high - low); }
  double x(double seconds) const { return kLeft + at(seconds); }
  double y(double seconds) const { return kTop + kSide - at(seconds); }
};

Scale scale_of(const std::vector<PlotPoint>& points) {
  Scale scale;
  if (points.empty()) return scale;
  double least = points.front().measured, most = least;
  for (const PlotPoint& p : points) {
    least = std::min({least, p.measured, p.predicted});
    most = std::max({most, p.measured, p.predicted});
  }
  scale.low = std::floor(std::log10(least));
  scale.high = std::max(std::ceil(std::log10(most)), scale.low + 1.0);
  return scale;
}

std::string line(double x1, double y1, double x2, double y2, std::string_view style) {
  return fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" {}/>\n", x1, y1, x2, y2, style);
}

std::string axes(const Scale& scale) {
  std::string out = fmt::format("<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"none\" stroke=\"#444\"/>\n",
                                kLeft, kTop, kSide, kSide);
  const int first = static_cast<int>(scale.low), last = static_cast<int>(scale.high);
  for (int exponent = first; exponent <= last; ++exponent) {
    const double value = std::pow(10.0, exponent);
    out += line(scale.x(value), kTop, scale.x(value), kTop + kSide, "stroke=\"#ddd\"");
    out += line(kLeft, scale.y(value), kLeft + kSide, scale.y(value), "stroke=\"#ddd\"");
    const std::string label = fmt::format("{:g} s", value);
    out += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>\n", scale.x(value),
                       kTop + kSide + 18.0, label);
    out += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>\n", kLeft - 6.0,
                       scale.y(value) + 4.0, label);
  }
  return out;
}

/// predicted = factor * measured, inside the frame.
std::string diagonal(const Scale& scale, double factor, std::string_view style) {
  const double shift = std::log10(factor);
  const double from = std::max(scale.low, scale.low - shift), to = std::min(scale.high, scale.high - shift);
  const double a = std::pow(10.0, from), b = std::pow(10.0, to);
  return line(scale.x(a), scale.y(a * factor), scale.x(b), scale.y(b * factor), style);
}

}  // namespace

std::string scatter_plot(const std::vector<PlotPoint>& points, const std::string& title) {
  const Scale scale = scale_of(points);
  std::map<std::string, std::string_view> colours;
  for (const PlotPoint& p : points) colours.try_emplace(p.group, kColours[colours.size() % kColours.size()]);
  std::string out = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\" "
      "font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
      "<text x=\"{2}\" y=\"24\" font-size=\"15\">{3}</text>\n",
      kLeft + kSide + kLegend, kTop + kSide + kBottom, kLeft, xml_escaped(title));
  out += axes(scale);
  out += diagonal(scale, 1.0, "stroke=\"#000\"");
  for (const double factor : {1.0 / 1.1, 1.1}) {
    out += diagonal(scale, factor, "stroke=\"#888\" stroke-dasharray=\"4 3\"");
  }
  for (const PlotPoint& p : points) {
    out += fmt::format(
        "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"2.6\" fill=\"{}\" fill-opacity=\"0.6\"><title>{}</title></circle>\n",
        scale.x(p.measured), scale.y(p.predicted), colours.at(p.group), xml_escaped(p.name));
  }
  double y = kTop + 10.0;
  for (const auto& [group, colour] : colours) {
    out += fmt::format(
        "<circle cx=\"{0}\" cy=\"{1:.1f}\" r=\"5\" fill=\"{2}\"/>\n<text x=\"{3}\" y=\"{4:.1f}\">{5}</text>\n",
        kLeft + kSide + 20.0, y, colour, kLeft + kSide + 32.0, y + 4.0, xml_escaped(group));
    y += 20.0;
  }
  out += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">measured step time</text>\n", kLeft + kSide / 2.0,
                     kTop + kSide + 40.0);
  out += fmt::format(
      "<text x=\"16\" y=\"{0}\" text-anchor=\"middle\" transform=\"rotate(-90 16 {0})\">predicted step time</text>\n",
      kTop + kSide / 2.0);
  return out + "</svg>\n";
}

}  // namespace orrery::cli
