// SPDX-License-Identifier: Apache-2.0
// A comparison as a table and as JSON. docs/metrics.md says what each number is.
#include "base/json_writer.h"
#include "base/units_format.h"
#include "traces/compare.h"
#include "traces/queue_names.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <utility>

#include <fmt/format.h>

namespace orrery {
namespace {

constexpr std::size_t kMostPathRows = 8;

std::string percent(double error) { return std::isnan(error) ? "-" : fmt::format("{:+.1f} %", 100.0 * error); }

std::string size_percent(double error) { return std::isnan(error) ? "-" : fmt::format("{:.1f} %", 100.0 * error); }

std::string class_name(OpCode op, Pass pass) { return fmt::format("{} {}", name_of(op), name_of(pass)); }

/// Rows of a table are appended to one text.
class Table {
 public:
  template <class... Args>
  void row(fmt::format_string<Args...> format, Args&&... args) {
    const std::size_t begin = text_.size();
    fmt::format_to(std::back_inserter(text_), format, std::forward<Args>(args)...);
    text_.erase(std::max(begin, text_.find_last_not_of(' ') + 1));
    text_ += '\n';
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

std::string memory_text(Bytes memory) { return memory == Bytes::zero() ? "not counted" : to_text(memory); }

std::string energy_text(const std::optional<Joules>& energy) { return energy ? to_text(*energy) : "no counter"; }

std::string steps_text(const TraceSummary& summary) {
  if (summary.num_warm_up == 0) return fmt::format("{}", summary.num_steps);
  return fmt::format("{} + {} warm-up", summary.num_steps, summary.num_warm_up);
}

void add_summaries(Table& out, const Comparison& all) {
  const TraceSummary &p = all.predicted, &m = all.measured;
  const auto row = [&](std::string_view name, const std::string& predicted, const std::string& measured,
                       const std::string& error) {
    out.row("{:<20}{:>18}{:>18}{:>12}", name, predicted, measured, error);
  };
  row("", p.interpreter, m.interpreter, "error");
  row("step time", to_text(p.step_time), to_text(m.step_time), percent(all.step_time.error()));
  row("tokens/s", fmt::format("{:.0f}", p.tokens_per_second), fmt::format("{:.0f}", m.tokens_per_second), "");
  row("peak memory", memory_text(p.peak_memory), memory_text(m.peak_memory), "");
  row("energy per step", energy_text(p.energy), energy_text(m.energy), "");
  row("steps", steps_text(p), steps_text(m), "");
}

void add_classes(Table& out, const Comparison& all) {
  out.row("");
  out.row("ops compared: {}, on ranks: {}", all.num_ops_compared, all.num_ranks_compared);
  if (all.classes.empty()) return;
  out.row("{:<26}{:>7}{:>13}{:>13}{:>12}{:>14}", "op", "ops", "predicted", "measured", "error", "median |err|");
  for (const OpClassComparison& c : all.classes) {
    out.row("{:<26}{:>7}{:>13}{:>13}{:>12}{:>14}", class_name(c.op, c.pass), c.num_ops, c.time.predicted,
            c.time.measured, percent(c.time.error()), size_percent(c.median_error));
  }
}

void add_queues(Table& out, const Comparison& all) {
  if (all.queues.empty()) return;
  out.row("");
  out.row("{:<14}{:>15}{:>13}{:>12}{:>17}{:>13}", "queue, a rank", "busy predicted", "measured", "error",
          "wait predicted", "measured");
  for (const QueueComparison& q : all.queues) {
    out.row("{:<14}{:>15}{:>13}{:>12}{:>17}{:>13}", name_of(kQueueNames, q.queue), q.busy.predicted, q.busy.measured,
            percent(q.busy.error()), q.wait.predicted, q.wait.measured);
  }
}

void add_paths(Table& out, const Comparison& all) {
  const TraceSummary &p = all.predicted, &m = all.measured;
  if (p.path.empty() && m.path.empty()) return;
  out.row("");
  const auto row = [&](std::string_view name, Seconds predicted, Seconds measured) {
    out.row("{:<26}{:>13}{:>13}", name, predicted, measured);
  };
  out.row("{:<26}{:>13}{:>13}", "critical path", p.interpreter, m.interpreter);
  row("peers without spans", p.path_peer_wait, m.path_peer_wait);
  row("between ops", p.path_gap, m.path_gap);
  row("ops", p.path_work, m.path_work);
  std::map<std::string, ComparedTime> shares;
  for (const PathShare& share : p.path) shares[class_name(share.op, share.pass)].predicted = share.time;
  for (const PathShare& share : m.path) shares[class_name(share.op, share.pass)].measured = share.time;
  std::vector<std::pair<std::string, ComparedTime>> rows(shares.begin(), shares.end());
  std::stable_sort(rows.begin(), rows.end(),
                   [](const auto& a, const auto& b) { return a.second.measured > b.second.measured; });
  rows.resize(std::min(rows.size(), kMostPathRows));
  for (const auto& [name, time] : rows) row("  " + name, time.predicted, time.measured);
}

void add_unmatched(Table& out, const std::string& interpreter, const UnmatchedOps& unmatched) {
  if (unmatched.count == 0) return;
  out.row("");
  out.row("ops only in {}: {}, such as", interpreter, unmatched.count);
  for (const std::string& name : unmatched.first) out.row("  {}", name);
}

/// A ratio; null where there is none.
void write_ratio(JsonWriter& out, std::string_view name, double x) {
  out.key(name);
  if (std::isnan(x)) {
    out.null();
  } else {
    out.value(x);
  }
}

void write_time(JsonWriter& out, std::string_view name, const ComparedTime& time) {
  out.key(name).begin_object().field("predicted", time.predicted).field("measured", time.measured);
  write_ratio(out, "error", time.error());
  out.end_object();
}

void write_summary(JsonWriter& out, std::string_view name, const TraceSummary& summary) {
  out.key(name).begin_object().field("interpreter", summary.interpreter).field("num_steps", summary.num_steps);
  out.field("num_warm_up", summary.num_warm_up).field("step_time", summary.step_time);
  out.field("tokens_per_second", summary.tokens_per_second).key("peak_memory");
  if (summary.peak_memory == Bytes::zero()) {
    out.null();
  } else {
    out.value(summary.peak_memory);
  }
  out.key("energy");
  if (summary.energy) {
    out.value(*summary.energy);
  } else {
    out.null();
  }
  out.key("critical_path").begin_object().field("work", summary.path_work);
  out.field("peer_wait", summary.path_peer_wait).field("gap", summary.path_gap).key("ops").begin_array();
  for (const PathShare& share : summary.path) {
    out.begin_object().field("op", name_of(share.op)).field("pass", name_of(share.pass));
    out.field("time", share.time).end_object();
  }
  out.end_array().end_object().end_object();
}

void write_unmatched(JsonWriter& out, std::string_view name, const UnmatchedOps& unmatched) {
  out.key(name).begin_object().field("count", unmatched.count).key("first").begin_array();
  for (const std::string& op : unmatched.first) out.value(op);
  out.end_array().end_object();
}

}  // namespace

std::string to_text(const Comparison& comparison) {
  Table out;
  add_summaries(out, comparison);
  add_classes(out, comparison);
  add_queues(out, comparison);
  add_paths(out, comparison);
  add_unmatched(out, comparison.predicted.interpreter, comparison.only_predicted);
  add_unmatched(out, comparison.measured.interpreter, comparison.only_measured);
  if (!comparison.notes.empty()) out.row("");
  for (const std::string& note : comparison.notes) out.row("note: {}", note);
  return out.text();
}

void write_comparison(JsonWriter& out, const Comparison& comparison) {
  out.begin_object();
  write_summary(out, "predicted", comparison.predicted);
  write_summary(out, "measured", comparison.measured);
  write_time(out, "step_time", comparison.step_time);
  out.field("num_ranks_compared", comparison.num_ranks_compared);
  out.field("num_ops_compared", comparison.num_ops_compared).key("classes").begin_array();
  for (const OpClassComparison& c : comparison.classes) {
    out.begin_object().field("op", name_of(c.op)).field("pass", name_of(c.pass)).field("num_ops", c.num_ops);
    write_time(out, "time", c.time);
    write_ratio(out, "median_error", c.median_error);
    out.end_object();
  }
  out.end_array().key("queues").begin_array();
  for (const QueueComparison& q : comparison.queues) {
    out.begin_object().field("queue", name_of(kQueueNames, q.queue));
    write_time(out, "busy", q.busy);
    write_time(out, "wait", q.wait);
    out.end_object();
  }
  out.end_array();
  write_unmatched(out, "only_predicted", comparison.only_predicted);
  write_unmatched(out, "only_measured", comparison.only_measured);
  out.key("notes").begin_array();
  for (const std::string& note : comparison.notes) out.value(note);
  out.end_array().end_object();
}

}  // namespace orrery
