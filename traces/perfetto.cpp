// SPDX-License-Identifier: Apache-2.0
#include "traces/perfetto.h"

#include "base/files.h"
#include "base/json_writer.h"
#include "traces/queue_names.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include <fmt/format.h>

namespace orrery {
namespace {

constexpr std::int32_t kTracks = -1;  // the process of what belongs to no rank

/// Writes events one by one, each on its own line.
class EventWriter {
 public:
  explicit EventWriter(AtomicFile& file) : file_(file) {
    file_.append("{\"displayTimeUnit\":\"ms\",\"traceEvents\":[");
  }

  void finish() { file_.append("\n]}\n"); }

  /// The names of processes and threads.
  void metadata(std::string_view kind, std::int32_t rank, std::int64_t thread, std::string_view name) {
    event(kind, "M", rank).field("tid", thread).key("args").begin_object().field("name", name).end_object();
    end_event();
  }

  void span(const Span& span, Seconds step_start) {
    event(fmt::format("{} {}", name_of(span.key.op), name_of(span.key.pass)), "X", span.rank)
        .field("tid", static_cast<std::int64_t>(span.queue))
        .field("ts", (step_start + span.start).in(unit::microsecond))
        .field("dur", span.duration().in(unit::microsecond));
    out_.key("args").begin_object().field("key", to_string(span.key)).field("step", span.step);
    out_.field("ready", (step_start + span.ready).in(unit::microsecond));
    out_.field("wait", span.wait().in(unit::microsecond)).field("bytes", span.bytes.in(unit::byte));
    out_.field("last_peer", span.last_peer).end_object();
    end_event();
  }

  void power(const PowerSample& sample) {
    event("power", "C", sample.rank).field("ts", sample.time.in(unit::microsecond));
    out_.key("args").begin_object().field("watts", sample.power.in(unit::watt)).end_object();
    end_event();
  }

  void counter(const CounterTrack& track, double value, Seconds time) {
    event(track.name, "C", kTracks).field("ts", time.in(unit::microsecond));
    out_.key("args").begin_object().field("value", value).end_object();
    end_event();
  }

 private:
  JsonWriter& event(std::string_view name, std::string_view phase, std::int32_t rank) {
    out_.clear();
    return out_.begin_object().field("name", name).field("ph", phase).field("pid", rank);
  }

  void end_event() {
    out_.end_object();
    file_.append(std::exchange(first_, false) ? "\n" : ",\n");
    file_.append(out_.text());
    out_.clear();
  }

  AtomicFile& file_;
  JsonWriter out_{JsonWriter::Layout::line};
  bool first_ = true;
};

/// When each step starts if they stand one behind the other; a step lasts as long as its record or its spans say.
std::map<std::int32_t, Seconds> step_starts(const Trace& trace) {
  std::map<std::int32_t, Seconds> lengths;
  for (const StepRecord& step : trace.steps) lengths[step.step] = step.time;
  for (std::size_t i = 0; i < trace.spans.size(); ++i) {
    Seconds& length = lengths[trace.spans.step()[i]];
    length = std::max(length, seconds(trace.spans.end()[i]));
  }
  Seconds start;
  for (auto& [step, length] : lengths) start += std::exchange(length, start);
  return lengths;
}

}  // namespace

void write_perfetto_file(const std::string& path, const Trace& trace, std::span<const CounterTrack> tracks) {
  AtomicFile file(path);
  EventWriter out(file);
  std::set<std::pair<std::int32_t, Queue>> threads;
  for (std::size_t i = 0; i < trace.spans.size(); ++i) threads.emplace(trace.spans.rank()[i], trace.spans.queue()[i]);
  for (const auto& [rank, count] : trace.header.represents) {
    const std::string name =
        count == 1 ? fmt::format("rank {}", rank) : fmt::format("rank {}, one of {} equal ranks", rank, count);
    out.metadata("process_name", rank, 0, name);
  }
  for (const auto& [rank, queue] : threads) {
    out.metadata("thread_name", rank, static_cast<std::int64_t>(queue), name_of(kQueueNames, queue));
  }
  const std::map<std::int32_t, Seconds> starts = step_starts(trace);
  for (std::size_t i = 0; i < trace.spans.size(); ++i) {
    const Span span = trace.spans.at(i);
    out.span(span, starts.at(span.step));
  }
  for (const PowerSample& sample : trace.power) out.power(sample);
  if (!tracks.empty()) out.metadata("process_name", kTracks, 0, "all ranks");
  for (const CounterTrack& track : tracks) {
    for (std::size_t i = 0; i < track.values.size(); ++i) {
      if (i > 0 && track.values[i] == track.values[i - 1]) continue;  // a counter keeps its value
      out.counter(track, track.values[i], static_cast<double>(i) * track.interval);
    }
    if (!track.values.empty()) out.counter(track, 0.0, static_cast<double>(track.values.size()) * track.interval);
  }
  out.finish();
  file.commit();
}

}  // namespace orrery
