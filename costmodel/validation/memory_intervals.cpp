// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/memory_intervals.h"

#include "base/files.h"
#include "base/json_reader.h"
#include "base/json_writer.h"
#include "costmodel/calibration_parts.h"
#include "costmodel/validation/time_intervals.h"

#include <cmath>
#include <utility>

#include <fmt/format.h>

namespace orrery::costmodel {
namespace {

/// What is held out together: one width of one framework.
HeldOut held_out(const MemoryError& error, double log_ratio) {
  return {.group = error.group,
          .framework = error.framework,
          .cell = fmt::format("{} {}", error.framework, error.hidden),
          .log_ratio = log_ratio};
}

/// Of figures in the interval of the framework's other widths.
void add_coverage(const std::vector<HeldOut>& errors, MemoryInterval& of) {
  const std::optional<Coverage> coverage = coverage_of(errors, intervals_without_own_cell(errors));
  if (!coverage) return;
  of.coverage = coverage->share;
  of.width_over_error = coverage->width_over_error;
}

}  // namespace

std::vector<MemoryInterval> memory_intervals(const std::vector<MemoryError>& errors) {
  std::map<std::pair<std::string, std::string>, std::vector<HeldOut>> kinds;
  std::vector<HeldOut> of_any;
  for (const MemoryError& error : errors) {
    kinds[{error.framework, std::string(name_of(error.figure))}].push_back(
        held_out(error, std::log(error.measured / error.predicted)));
    if (error.without_preset) of_any.push_back(held_out(error, std::log(error.measured / *error.without_preset)));
  }
  std::vector<MemoryInterval> out;
  const auto add = [&](std::string framework, std::string figure, const std::vector<HeldOut>& of) {
    MemoryInterval& last =
        out.emplace_back(MemoryInterval{std::move(framework), std::move(figure), interval_of(of), {}, {}});
    add_coverage(of, last);
  };
  for (const auto& [kind, of] : kinds) add(kind.first, kind.second, of);
  if (!of_any.empty()) add(std::string(kAnyFramework), std::string(kReserved), of_any);
  return out;
}

std::optional<Interval> MemoryIntervals::find(std::string_view framework, std::string_view figure) const {
  const auto by_figure = of.find(std::string(framework));
  if (by_figure == of.end()) return std::nullopt;
  const auto found = by_figure->second.find(std::string(figure));
  return found == by_figure->second.end() ? std::nullopt : std::optional(found->second);
}

MemoryIntervals read_memory_intervals_text(const std::string& text, const std::string& file) {
  JsonDocument document = JsonDocument::parse_text(text, file);
  const JsonObject in = document.root();
  in.schema("memory_intervals/1");
  MemoryIntervals out;
  out.source = in.required("source").string();
  const JsonObject frameworks = in.required("intervals").object();
  for (const std::string& framework : frameworks.keys()) {
    const JsonObject figures = frameworks.required(framework).object();
    for (const std::string& figure : figures.keys()) {
      out.of[framework][figure] = read_interval(figures.required(figure).object());
    }
  }
  in.finish();
  document.throw_if_problems();
  return out;
}

MemoryIntervals read_memory_intervals(const std::filesystem::path& path) {
  return read_memory_intervals_text(read_file(path.string()), path.string());
}

std::string to_json(const std::vector<MemoryInterval>& intervals, const std::string& source) {
  std::map<std::string, std::map<std::string, Interval>> sorted;
  for (const MemoryInterval& of : intervals) sorted[of.framework][of.figure] = of.interval;
  JsonWriter out;
  out.begin_object().field("schema", "memory_intervals/1").field("source", source).key("intervals").begin_object();
  for (const auto& [framework, figures] : sorted) {
    out.key(framework).begin_object();
    for (const auto& [figure, interval] : figures) write(out.key(figure), interval);
    out.end_object();
  }
  out.end_object().end_object();
  return out.text();
}

}  // namespace orrery::costmodel
