// SPDX-License-Identifier: Apache-2.0
#include "cli/collective_validation.h"

#include "base/files.h"
#include "base/json_writer.h"
#include "costmodel/validation/curve_score.h"

#include <optional>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace orrery::cli {
namespace {

void add(const costmodel::CurveErrors& errors, std::vector<Value>& row) {
  row.emplace_back(errors.num_points);
  const bool any = errors.num_points > 0;
  row.push_back(any ? Value::percent(errors.median) : Value::unknown("-"));
  row.push_back(any ? Value::percent(errors.mean) : Value::unknown("-"));
  row.push_back(any ? Value::error(errors.bias) : Value::unknown("-"));
}

Table table_of(const std::vector<costmodel::CurveStratum>& strata) {
  Table table{.columns = {}, .rows = {}};
  const bool has_system = !strata.empty() && !strata.front().system.empty();
  const bool has_sizes = !strata.empty() && !strata.front().sizes.empty();
  if (has_system) table.columns.push_back({"system", "system: devices on nodes"});
  table.columns.push_back({"op", "collective"});
  if (has_sizes) table.columns.push_back({"sizes", "sizes"});
  for (const auto& [key, label] : {std::pair("fitted", "fitted"), std::pair("scored", "scored")}) {
    table.columns.push_back({fmt::format("{}_points", key), fmt::format("{}: n", label)});
    table.columns.push_back({fmt::format("{}_median", key), "median |e|"});
    table.columns.push_back({fmt::format("{}_mean", key), "mean |e|"});
    table.columns.push_back({fmt::format("{}_bias", key), "bias"});
  }
  for (const costmodel::CurveStratum& stratum : strata) {
    std::vector<Value> row;
    if (has_system) row.emplace_back(stratum.system);
    row.emplace_back(stratum.op);
    if (has_sizes) row.emplace_back(stratum.sizes);
    add(stratum.fitted, row);
    add(stratum.scored, row);
    table.rows.push_back(std::move(row));
  }
  return table;
}

Table table_of(const std::vector<costmodel::CurveMachine>& machines) {
  Table table{.columns = {{"machine", "machine"},
                          {"hop", "hop"},
                          {"nic_fraction", "of a NIC's rate"},
                          {"points", "points"},
                          {"residual", "median |e|"},
                          {"like", "like"}},
              .rows = {}};
  for (const costmodel::CurveMachine& machine : machines) {
    const costmodel::NetworkNumbers& network = machine.network;
    if (network.num_points == 0 && network.like.empty()) continue;
    const bool is_own = network.num_points > 0;
    table.rows.push_back({machine.name, network.hop, Value::percent(network.fraction), network.num_points,
                          is_own ? Value::percent(network.residual) : Value::unknown("-"),
                          is_own ? Value::unknown("-") : Value(network.like)});
  }
  return table;
}

Table table_of(const std::vector<costmodel::UnreadFigures>& unread) {
  Table table{.columns = {{"entry", "entry"}, {"op", "op"}, {"reason", "reason"}, {"figures", "figures"}}, .rows = {}};
  for (const auto& figures : unread) {
    table.rows.push_back({figures.entry, figures.op, figures.reason, figures.num_figures});
  }
  return table;
}

std::string lines_of(const std::vector<costmodel::ScoredPoint>& points) {
  std::string text;
  for (const costmodel::ScoredPoint& p : points) {
    JsonWriter line(JsonWriter::Layout::line);
    line.begin_object().field("entry", p.curve->entry).field("system", p.machine->name).field("op", p.curve->op);
    line.field("ranks", p.point.ranks).field("nodes", p.point.nodes).field("bytes", p.point.size.in(unit::byte));
    line.field("measured_s", p.point.time.in(unit::second)).field("predicted_s", p.predicted.in(unit::second));
    line.field("fitted", p.fitted).end_object();
    text += line.text();
    if (!text.ends_with('\n')) text += '\n';
  }
  return text;
}

}  // namespace

Report collective_report(const JsonDocument& document, const costmodel::DeviceLookup& device_of,
                         const std::filesystem::path& catalog, const std::string& points_out) {
  const costmodel::CurvesFile file = costmodel::read_collective_curves(document);
  const auto calibration_of = [&](const std::string& name) -> std::optional<costmodel::Calibration> {
    const std::filesystem::path path = catalog / "calibration" / "tables" / (name + ".json");
    if (!std::filesystem::exists(path)) return std::nullopt;
    return costmodel::read_calibration(path);
  };
  const costmodel::CurveScore score = costmodel::score_curves(file, device_of, calibration_of);
  if (!points_out.empty()) write_file_atomically(points_out, lines_of(score.points));
  Report report("Collectives against measured curves");
  std::size_t num_unread = 0, num_scored = 0;
  for (const auto& figures : score.unread) num_unread += figures.num_figures;
  for (const auto& point : score.points) num_scored += static_cast<std::size_t>(!point.fitted);
  report.fact("points", "points", score.points.size() + num_unread)
      .fact("modelled", "modelled", score.points.size())
      .fact("scored", "scored", num_scored)
      .fact("median_of_curves", "median of the curves' medians",
            num_scored > 0 ? Value::percent(score.median_of_curves) : Value::unknown("-"));
  report.table("by_op", "By collective", table_of(score.by_op));
  report.table("by_system", "By system", table_of(score.by_system));
  report.table("by_size", "By size", table_of(score.by_size));
  report.table("networks", "Between nodes, fitted to two of them", table_of(score.machines));
  report.table("unread", "Not modelled", table_of(score.unread));
  report.note("fitted: up to 64 MiB on one or two nodes; scored: everything else, with the same numbers");
  report.note("within a domain what was fitted to is interpolated: its errors are small by construction");
  return report;
}

}  // namespace orrery::cli
