// SPDX-License-Identifier: Apache-2.0
#include "executor/meter/metrics_file.h"

#include "base/errors.h"
#include "base/number_text.h"

#include <algorithm>

#include <fmt/format.h>

namespace orrery::executor {
namespace {

constexpr std::string_view kInfo = "orrery_run_info";
constexpr std::string_view kStepSeconds = "orrery_step_seconds";
constexpr std::string_view kTokens = "orrery_tokens_total";
constexpr std::string_view kRestarts = "orrery_restarts_total";
constexpr std::string_view kEnergy = "orrery_energy_joules_total";
constexpr std::string_view kSentBytes = "orrery_comm_bytes_total";

void begin_family(std::string& out, std::string_view name, std::string_view type, std::string_view help) {
  out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
}

/// Takes `prefix` off `text`, if it is there.
bool take(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

/// A label as it was written, up to its closing quote; what we name needs no escape.
std::string take_label(std::string_view& text) {
  const std::size_t end = text.find('"');
  if (end == std::string_view::npos) return "";
  std::string label(text.substr(0, end));
  text.remove_prefix(end);
  return label;
}

template <class Number>
bool read_number(std::string_view text, Number& number) {
  const std::optional<Number> read = number_in<Number>(text);
  if (!read || !(*read >= Number{0})) return false;
  number = *read;
  return true;
}

bool read_line(std::string_view line, RunTotals& totals) {
  if (line.empty() || line.starts_with('#') || line.starts_with(kInfo) || line.starts_with(kStepSeconds)) return true;
  if (take(line, kTokens)) return take(line, " ") && read_number(line, totals.tokens);
  if (take(line, kRestarts)) return take(line, " ") && read_number(line, totals.restarts);
  if (take(line, kEnergy)) {
    double value = 0.0;
    if (!take(line, " ") || !read_number(line, value)) return false;
    totals.energy = joules(value);
    return true;
  }
  if (!take(line, kSentBytes) || !take(line, "{dim=\"")) return false;
  const std::string dimension = take_label(line);
  if (!take(line, "\",op=\"")) return false;
  const std::string op = take_label(line);
  return take(line, "\"} ") && read_number(line, totals.sent_bytes[{dimension, op}]);
}

}  // namespace

std::string escaped_label(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\' || c == '"') out += '\\';
    out += c == '\n' ? "\\n" : std::string(1, c);
  }
  return out;
}

std::string metrics_text(const RunMetrics& metrics) {
  const RunTotals& totals = metrics.totals;
  std::string out;
  begin_family(out, kInfo, "gauge", "What is trained.");
  out += fmt::format("{}{{model=\"{}\",ranks=\"{}\"}} 1\n", kInfo, escaped_label(metrics.model), metrics.num_ranks);
  if (metrics.step_time) {
    begin_family(out, kStepSeconds, "gauge",
                 "Time of the last step, from the common start to the end of the last rank.");
    out += fmt::format("{} {}\n", kStepSeconds, metrics.step_time->in(unit::second));
  }
  begin_family(out, kTokens, "counter", "Tokens trained by all ranks.");
  out += fmt::format("{} {}\n", kTokens, totals.tokens);
  begin_family(out, kRestarts, "counter", "Restarts of the run after ranks were lost or failed.");
  out += fmt::format("{} {}\n", kRestarts, totals.restarts);
  if (totals.energy) {
    begin_family(out, kEnergy, "counter", "Energy of the CPU packages of this machine during steps (RAPL).");
    out += fmt::format("{} {}\n", kEnergy, totals.energy->in(unit::joule));
  } else {
    out += fmt::format("# {}: no counter\n", kEnergy);
  }
  begin_family(out, kSentBytes, "counter", "Payload that ranks sent to each other, by dimension and op.");
  for (const auto& [place, bytes] : totals.sent_bytes) {
    out += fmt::format("{}{{dim=\"{}\",op=\"{}\"}} {}\n", kSentBytes, escaped_label(place.first),
                       escaped_label(place.second), bytes);
  }
  return out;
}

RunTotals read_totals(std::string_view text, const std::string& file) {
  RunTotals totals;
  ProblemList problems;
  int number = 0;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    if (!read_line(line, totals)) {
      problems.add({.file = file,
                    .line = number,
                    .message = fmt::format("expected a metric as orrery execute writes it, got: {}", line)});
    }
  }
  problems.throw_if_any();
  return totals;
}

}  // namespace orrery::executor
