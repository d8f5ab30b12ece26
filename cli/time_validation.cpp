// SPDX-License-Identifier: Apache-2.0
#include "cli/time_validation.h"

#include "base/errors.h"
#include "base/files.h"
#include "base/json_writer.h"
#include "cli/memory_validation.h"
#include "cli/scatter_plot.h"
#include "costmodel/validation/time_score.h"

#include <algorithm>
#include <cstddef>
#include <map>
#include <numeric>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace orrery::cli {
namespace {

constexpr std::size_t kReadableFamilies = 20;  // JSON has all

/// What tables of kernels say of each device: catalog/calibration/tables.
class Tables {
 public:
  Tables(std::filesystem::path folder, const costmodel::DeviceLookup& device_of)
      : folder_(std::move(folder)), device_of_(device_of) {}
  /// nullptr if there is no table of it.
  const costmodel::KnownDevice* find(const std::string& name) {
    const auto found = known_.find(name);
    if (found != known_.end()) return &found->second;
    const std::filesystem::path path = folder_ / (name + ".json");
    if (!std::filesystem::exists(path)) return nullptr;
    return &known_.try_emplace(name, costmodel::read_calibration(path), *device_of_(name)).first->second;
  }

 private:
  std::filesystem::path folder_;
  const costmodel::DeviceLookup& device_of_;
  std::map<std::string, costmodel::KnownDevice> known_;
};

Value or_dash(const std::optional<double>& x) { return x ? Value(*x) : Value::unknown("-"); }

Table table_of(const std::vector<costmodel::StratumScore>& strata) {
  Table table;
  table.columns = {{"group", "group"},
                   {"gpu", "GPU"},
                   {"kind", "kind"},
                   {"predicted", "n"},
                   {"refused", "refused"},
                   {"zero_fit_mean", "zero-fit: mean"},
                   {"zero_fit_median", "median"},
                   {"zero_fit_bias", "bias"},
                   {"shipped_mean", "fitted: mean"},
                   {"shipped_median", "median"},
                   {"shipped_bias", "bias"},
                   {"cross_mean", "cross-validated: mean"},
                   {"cross_median", "median"},
                   {"cross_bias", "bias"},
                   {"cross_mean_with_refused", "refused as 100 %"},
                   {"coverage", "in 80 %"},
                   {"width_over_error", "half-width / error"}};
  for (const costmodel::StratumScore& s : strata) {
    std::vector<Value> row = {s.stratum.group, s.stratum.gpu, s.stratum.is_moe ? "MoE" : "dense", s.num_predicted,
                              s.num_refused};
    const auto add = [&](const costmodel::TimeErrors& e) {
      const bool has_errors = s.num_predicted > 0;
      row.push_back(has_errors ? Value::percent(e.mean) : Value::unknown("-"));
      row.push_back(has_errors ? Value::percent(e.median) : Value::unknown("-"));
      row.push_back(has_errors ? Value::error(e.bias) : Value::unknown("-"));
    };
    add(s.zero_fit);
    add(s.shipped);
    if (s.cross_validated) {
      add(*s.cross_validated);
      row.push_back(Value::percent(s.cross_validated->mean_with_refused));
    } else {
      for (int i = 0; i < 3; ++i) row.push_back(Value::unknown("-"));
      row.push_back(Value::percent(s.shipped.mean_with_refused));
    }
    row.push_back(s.coverage ? Value::percent(*s.coverage) : Value::unknown("-"));
    row.push_back(or_dash(s.width_over_error));
    table.rows.push_back(std::move(row));
  }
  return table;
}

Table table_of(const std::vector<costmodel::GroupTau>& groups) {
  Table table{.columns = {{"group", "group"},
                          {"families", "families"},
                          {"runs", "runs"},
                          {"zero_fit", "tau, zero-fit"},
                          {"shipped", "tau, fitted"},
                          {"cross_validated", "tau, cross-validated"}},
              .rows = {}};
  for (const costmodel::GroupTau& g : groups) {
    table.rows.push_back({g.group, g.num_families, g.num_runs, g.zero_fit, g.shipped, or_dash(g.cross_validated)});
  }
  return table;
}

/// The `most` with most runs, in the order of the file.
std::vector<costmodel::FamilyScore> largest(const std::vector<costmodel::FamilyScore>& families, std::size_t most) {
  std::vector<std::size_t> order(families.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return families[a].num_runs > families[b].num_runs; });
  order.resize(std::min(most, order.size()));
  std::sort(order.begin(), order.end());
  std::vector<costmodel::FamilyScore> out;
  for (const std::size_t i : order) out.push_back(families[i]);
  return out;
}

Table table_of(const std::vector<costmodel::FamilyScore>& families) {
  Table table{.columns = {{"group", "group"},
                          {"cell", "model on GPU"},
                          {"gpus", "GPUs"},
                          {"seq", "tokens"},
                          {"global_batch", "batch"},
                          {"precision", "precision"},
                          {"software", "software"},
                          {"runs", "runs"},
                          {"zero_fit", "tau, zero-fit"},
                          {"shipped", "fitted"},
                          {"cross_validated", "cross-validated"}},
              .rows = {}};
  for (const costmodel::FamilyScore& f : families) {
    table.rows.push_back({f.group, f.cell, f.num_gpus, f.seq, f.global_batch, f.precision, f.software, f.num_runs,
                          f.zero_fit, f.shipped, or_dash(f.cross_validated)});
  }
  return table;
}

Table worst_of(const costmodel::TimedRuns& timed, const costmodel::TimeScore& score) {
  Table table{.columns = {{"group", "group"}, {"run", "run"}, {"measured", "measured"}, {"error", "error"}},
              .rows = {}};
  std::map<std::string, Seconds> measured;
  for (const costmodel::TimedRun& run : timed.runs) measured[run.run->id] = run.measured;
  for (const costmodel::StratumScore& s : score.strata) {
    const costmodel::TimeErrors& errors = s.cross_validated ? *s.cross_validated : s.shipped;
    if (errors.worst_run.empty()) continue;
    table.rows.push_back({s.stratum.group, errors.worst_run, measured[errors.worst_run], Value::error(errors.worst)});
  }
  return table;
}

std::string lines_of(const costmodel::TimedRuns& timed, const costmodel::TimeScore& score) {
  std::string out;
  for (std::size_t i = 0; i < timed.runs.size(); ++i) {
    JsonWriter line(JsonWriter::Layout::line);
    line.begin_object().field("run", timed.runs[i].run->id);
    line.field("measured_s", timed.runs[i].measured.in(unit::second));
    line.field("zero_fit_s", timed.zero_fit[i].in(unit::second));
    line.field("fitted_s", score.shipped[i].in(unit::second));
    if (!score.cross_validated.empty()) {
      line.field("cross_validated_s", score.cross_validated[i].in(unit::second));
    }
    line.end_object();
    out += line.text() + '\n';
  }
  for (const auto& [reason, ids] : timed.reasons) out += not_modelled_lines("time", reason, ids);
  return out;
}

std::string plot_of(const costmodel::TimedRuns& timed, const costmodel::TimeScore& score) {
  const bool crossed = !score.cross_validated.empty();
  std::vector<PlotPoint> points;
  for (std::size_t i = 0; i < timed.runs.size(); ++i) {
    const costmodel::TimedRun& run = timed.runs[i];
    points.push_back(
        {.group = run.run->group,
         .name = fmt::format("{}: {} on {} {}", run.run->id, run.plan.model.name, run.plan.num_devices, run.run->gpu),
         .measured = run.measured.in(unit::second),
         .predicted = (crossed ? score.cross_validated : score.shipped)[i].in(unit::second)});
  }
  return scatter_plot(points, crossed ? "Step times of published runs, each model and GPU held out"
                                      : "Step times of published runs, with the catalog's factors");
}

void write_files(const costmodel::TimedRuns& timed, const costmodel::TimeScore& score, const TimeOptions& options) {
  if (!options.plot.empty()) write_file_atomically(options.plot, plot_of(timed, score));
  if (options.factors_out.empty()) return;
  if (!score.fitted) throw ConfigError("--factors-out: expected runs that can be predicted, to fit to");
  write_file_atomically(options.factors_out, costmodel::to_json(*score.fitted));
}

}  // namespace

Report time_report(const costmodel::RunsFile& file, const costmodel::DeviceLookup& device_of,
                   const std::filesystem::path& catalog, const TimeOptions& options, bool cross_validate,
                   std::string& lines) {
  if (!options.factors_out.empty() && !cross_validate) {
    throw ConfigError("--factors-out: expected --cross-validate too, which makes the fit");
  }
  Tables tables(catalog / "calibration" / "tables", device_of);
  const costmodel::TimedRuns timed =
      costmodel::timed_runs(file, device_of, [&](const std::string& device) { return tables.find(device); });
  const auto known = [&](const costmodel::TimedRun& run) -> const costmodel::KnownDevice& {
    return *tables.find(run.plan.device);
  };
  const std::filesystem::path factors = catalog / "calibration" / "factors" / "training.json";
  const costmodel::TimeFactors shipped =
      std::filesystem::exists(factors) ? costmodel::read_time_factors(factors) : costmodel::TimeFactors{};
  const costmodel::TimeScore score = costmodel::score_time(
      timed, known, shipped, cross_validate, fmt::format("orrery validate on {} runs", timed.runs.size()));
  write_files(timed, score, options);
  lines += lines_of(timed, score);

  Report report("Step times against published runs");
  report.fact(
      "runs", "runs that ran", timed.runs.size() + [&] {
        std::size_t refused = 0;
        for (const auto& [stratum, count] : timed.refused) refused += count;
        return refused;
      }());
  report.fact("predicted", "predicted", timed.runs.size());
  report.table("strata", "Absolute errors", table_of(score.strata));
  report.table("families", "Order of plans: Kendall's tau, mean over families", table_of(means_of(score.families)));
  const auto shown = options.all_families ? score.families : largest(score.families, kReadableFamilies);
  report.table("by_family", shown.size() < score.families.size() ? "Of the largest families" : "By family",
               table_of(shown));
  report.table("worst", "Worst of each stratum", worst_of(timed, score));
  Table intervals{.columns = {{"name", "predictor"}, {"runs", "runs"}, {"low", "from"}, {"high", "to"}}, .rows = {}};
  for (const auto& [name, of] : score.zero_fit_intervals)
    intervals.rows.push_back({name, of.num_runs, of.low, of.high});
  if (!intervals.rows.empty()) {
    report.table("zero_fit_intervals", "80 % intervals, measured over predicted", std::move(intervals));
  }
  if (score.fitted) {
    report.fact("interval_score", "interval score", or_dash(score.interval_score));
    report.fact("constant_interval_score", "of a constant width, held out as well", or_dash(score.constant_score));
    report.fact("constant_interval_score_in_sample", "of one that has seen all errors",
                or_dash(score.constant_score_in_sample));
  }
  Table refused{.columns = {{"reason", "reason"}, {"runs", "runs"}, {"ids", "which"}}, .rows = {}};
  for (const auto& [reason, ids] : timed.reasons)
    refused.rows.push_back({reason, ids.size(), Value::list(fmt::format("{}", fmt::join(ids, " ")))});
  if (!refused.rows.empty()) report.table("not_modelled", "Not modelled", std::move(refused));
  report.note("zero-fit: from tables of kernels and data sheets alone; fitted: with the factors in the catalog");
  return report;
}

}  // namespace orrery::cli
