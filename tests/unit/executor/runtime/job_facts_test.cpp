// SPDX-License-Identifier: Apache-2.0
// What the processes of a job compare before they train together.
#include "executor/runtime/execution.h"
#include "tests/unit/executor/checkpoint/broken_files.h"
#include "tests/unit/executor/runtime/hf_folders.h"
#include "tests/unit/executor/runtime/thread_ranks.h"

#include <filesystem>
#include <vector>

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using namespace testing;
namespace fs = std::filesystem;
using Names = std::vector<std::string>;

/// The facts in which two processes differ.
Names differing(const TrainingSettings& a, const TrainingSettings& b, std::int64_t first_step = 0) {
  const StepProgram program = lower(small_model(), strategy_of(small_model()), kBatch, 1);
  JobFacts others = job_facts_of(program, b, first_step);
  Names names;
  for (const auto& [name, text] : job_facts_of(program, a, first_step)) {
    if (others.at(name) != text) names.push_back(name);
  }
  return names;
}

TEST(JobFacts, WeightsMayStandElsewhereOnAnotherHost) {
  const TestFolder here, there;
  fs::copy(hf_folder("llama"), here.path() / "hf");
  fs::copy(hf_folder("llama"), there.path() / "copy");
  TrainingSettings a, b;
  a.init_from = here / "hf";
  EXPECT_EQ(differing(a, b), Names{"weights to start from"});
  b.init_from = there / "copy";
  EXPECT_EQ(differing(a, b), Names());
  // An element of the last tensor, which another training may have left there.
  change_file(there / "copy/model.safetensors", [](std::string& text) { text[text.size() - 3] ^= 1; });
  EXPECT_EQ(differing(a, b), Names{"weights to start from"});
  // Who goes on from a checkpoint reads none of them.
  a.resume_from = b.resume_from = "checkpoint";
  EXPECT_EQ(differing(a, b), Names());
}

TEST(JobFacts, ReplayedChoicesAreComparedAndNotTheirFolders) {
  const StepProgram program = lower(small_model(), strategy_of(small_model()), kBatch, 1);
  const TestFolder here, there;
  Choices choices;
  for (const std::int64_t layer : routed_layers(program)) {
    choices[layer].resize(static_cast<std::size_t>(kBatch.seq * kBatch.global_batch * 2));
  }
  TrainingSettings a, b;
  a.replay_routing = here.path(), b.replay_routing = there.path();
  a.num_steps = b.num_steps = 2;
  for (const std::int64_t step : {0, 1, 2}) {
    write_routing(routing_of_step(here.path(), step), program, choices);
    if (step == 2) choices.begin()->second.back() = 1;  // a step that is not trained
    write_routing(routing_of_step(there.path(), step), program, choices);
  }
  EXPECT_EQ(differing(a, b), Names());
  write_routing(routing_of_step(there.path(), 0), program, choices);
  EXPECT_EQ(differing(a, b), Names{"routing to replay"});
  EXPECT_EQ(differing(a, b, /*first_step=*/1), Names());
}

TEST(JobFacts, WhatRankZeroWritesMayGoAnywhere) {
  TrainingSettings a, b;
  a.record_routing = "here", b.record_routing = "there";
  a.metrics_file = "here.prom", b.metrics_file = "there.prom";
  EXPECT_EQ(differing(a, b), Names());
  b.record_routing = b.metrics_file = "";  // all ranks take part in both
  EXPECT_EQ(differing(a, b), (Names{"metrics", "routing to record"}));
}

}  // namespace
}  // namespace orrery::executor
