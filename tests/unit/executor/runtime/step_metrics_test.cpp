// SPDX-License-Identifier: Apache-2.0
// The metrics of a run against what its ranks recorded.
#include "executor/runtime/step_metrics.h"

#include "base/files.h"
#include "base/json_reader.h"
#include "tests/unit/executor/checkpoint/broken_files.h"
#include "tests/unit/executor/runtime/thread_ranks.h"

#include <filesystem>
#include <mutex>
#include <optional>
#include <sstream>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using namespace testing;

StepProgram program_of() {
  Strategy strategy = strategy_of(small_model(), /*pp=*/2, /*ep=*/2);
  strategy.zero_dense = 1;
  return lower(small_model(), strategy, kBatch, 4);
}

/// What the spans of all ranks sent, by op.
using SentByOp = std::map<std::string, std::int64_t>;

struct Recorded {
  SentByOp sent;
  Seconds last_step;  // of the slowest rank
};

/// Trains two steps and keeps the file; returns what the ranks recorded of them.
Recorded train(const StepProgram& program, const std::string& path, std::optional<Joules> energy) {
  Recorded recorded;
  std::mutex mutex;
  on_all_ranks(program, settings_of(2), [&](RankRuntime& runtime, int rank) {
    StepMetrics metrics(runtime, path);
    for (int step = 0; step < 2; ++step) {
      const RankRuntime::Step done = runtime.run_step();
      metrics.after_step(done, rank == 0 ? energy : std::nullopt);
      const std::lock_guard lock(mutex);
      if (step == 1) recorded.last_step = std::max(recorded.last_step, done.record.time);
      for (const Span& span : done.spans) {
        if (span.bytes.in(unit::byte) > 0)
          recorded.sent[std::string(name_of(span.key.op))] += static_cast<std::int64_t>(span.bytes.in(unit::byte));
      }
    }
  });
  return recorded;
}

TEST(StepMetrics, CountWhatAllRanksSentAndTrained) {
  const TestFolder folder;
  const StepProgram program = program_of();
  start_metrics_file(folder / "m.prom", program, RunStart::anew);
  EXPECT_EQ(read_file(folder / "m.prom").find("orrery_step_seconds"), std::string::npos);
  const Recorded recorded = train(program, folder / "m.prom", std::nullopt);
  const std::string text = read_file(folder / "m.prom");
  const std::string step_time = fmt::format("\norrery_step_seconds {}\n", recorded.last_step.in(unit::second));
  EXPECT_NE(text.find(step_time), std::string::npos) << step_time << text;
  EXPECT_NE(text.find("orrery_run_info{model=\"small\",ranks=\"4\"} 1\n"), std::string::npos) << text;
  const RunTotals totals = read_totals(text, "m.prom");
  EXPECT_EQ(totals.tokens, 2 * kBatch.seq * kBatch.global_batch);
  EXPECT_FALSE(totals.energy.has_value());
  SentByOp counted;
  std::set<std::string> dimensions;
  for (const auto& [place, bytes] : totals.sent_bytes) {
    counted[place.second] += bytes;
    dimensions.insert(place.first);
  }
  EXPECT_EQ(counted, recorded.sent);
  EXPECT_EQ(dimensions, (std::set<std::string>{"dp", "ep", "pp", "world"}));
  EXPECT_TRUE(totals.sent_bytes.contains({"ep", "moe.dispatch"}));
  EXPECT_TRUE(totals.sent_bytes.contains({"pp", "pp.send_act"}));
}

TEST(StepMetrics, CountersGoOnWhereARunIsResumedAndStartAnewWhereItIsNot) {
  const TestFolder folder;
  const StepProgram program = program_of();
  const std::string path = folder / "m.prom";
  const auto totals = [&] { return read_totals(read_file(path), path); };
  start_metrics_file(path, program, RunStart::resumed);  // there is none yet
  train(program, path, joules(3.0));
  const RunTotals first = totals();
  EXPECT_EQ(first.energy, joules(6.0));
  start_metrics_file(path, program, RunStart::resumed);
  EXPECT_EQ(totals(), first);
  train(program, path, joules(3.0));
  EXPECT_EQ(totals().tokens, 2 * first.tokens);
  EXPECT_EQ(totals().energy, joules(12.0));
  for (const auto& [place, bytes] : totals().sent_bytes) EXPECT_GE(bytes, first.sent_bytes.at(place));
  start_metrics_file(path, program, RunStart::restarted);
  EXPECT_EQ(totals().restarts, 1);
  EXPECT_EQ(totals().tokens, 2 * first.tokens);
  start_metrics_file(path, program, RunStart::anew);
  EXPECT_EQ(totals(), RunTotals());
}

TEST(StepMetrics, ALineOfEachStepHoldsWhatItAddsToTheTotals) {
  const TestFolder folder;
  const StepProgram program = program_of();
  const std::string path = folder / "m.prom", lines = folder / "steps.jsonl";
  start_metrics_file(path, program, RunStart::anew);
  start_step_lines(lines, 0);
  std::vector<RankRuntime::Step> steps;
  on_all_ranks(program, settings_of(2), [&](RankRuntime& runtime, int rank) {
    StepMetrics metrics(runtime, path, lines);
    for (int step = 0; step < 2; ++step) {
      RankRuntime::Step done = runtime.run_step();
      metrics.after_step(done, rank == 0 ? std::optional(joules(3.0)) : std::nullopt);
      if (rank == 0) steps.push_back(std::move(done));
    }
  });
  SentBytes sent;
  std::istringstream text(read_file(lines));
  std::string line;
  for (std::size_t step = 0; step < 2; ++step) {
    ASSERT_TRUE(std::getline(text, line));
    const JsonDocument document = JsonDocument::parse_text(line, "steps.jsonl");
    const JsonObject in = document.root();
    EXPECT_EQ(in.required("step").integer(), static_cast<std::int64_t>(step));
    EXPECT_GE(in.required("seconds").number(), steps[step].record.time.in(unit::second));
    EXPECT_EQ(in.required("tokens").integer(), kBatch.seq * kBatch.global_batch);
    EXPECT_EQ(in.required("loss").number(), steps[step].record.loss);
    EXPECT_EQ(in.required("grad_norm").number(), steps[step].record.grad_norm);
    EXPECT_EQ(in.required("energy").number(), 3.0);
    const JsonObject dimensions = in.required("bytes").object();
    for (const std::string& dimension : dimensions.keys()) {
      const JsonObject ops = dimensions.required(dimension).object();
      for (const std::string& op : ops.keys()) sent[{dimension, op}] += ops.required(op).integer();
    }
  }
  EXPECT_FALSE(std::getline(text, line));
  EXPECT_EQ(sent, read_totals(read_file(path), path).sent_bytes);
}

// A link to the file keeps what a reader has open: the next step is a new file, not a change of this one.
TEST(StepMetrics, WhoReadsTheFileDuringAStepHasAWholeOne) {
  const TestFolder folder;
  const StepProgram program = program_of();
  start_metrics_file(folder / "m.prom", program, RunStart::anew);
  const std::string before = read_file(folder / "m.prom");
  std::filesystem::create_hard_link(folder / "m.prom", folder / "open");
  train(program, folder / "m.prom", std::nullopt);
  EXPECT_NE(read_file(folder / "m.prom"), before);
  EXPECT_EQ(read_file(folder / "open"), before);
}

TEST(StepMetrics, AFileOfOthersIsLeftAlone) {
  const TestFolder folder;
  write_file_atomically(folder / "m.prom", "node_load1 0.5\n");
  EXPECT_EQ(error_of(folder, [&] { start_metrics_file(folder / "m.prom", program_of(), RunStart::resumed); }),
            "m.prom:1: expected a metric as orrery execute writes it, got: node_load1 0.5");
  EXPECT_EQ(read_file(folder / "m.prom"), "node_load1 0.5\n");
}

}  // namespace
}  // namespace orrery::executor
