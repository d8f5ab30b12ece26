// SPDX-License-Identifier: Apache-2.0
#include "executor/calibration/sample_table.h"

#include "program/lower.h"
#include "tests/unit/executor/calibration/small_probe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;
using testing::small_probe;

TEST(PointName, ProductsShareANameExceptTheRouter) {
  EXPECT_EQ(point_name(OpCode::attn_qkv, GemmShape{}), "gemm");
  EXPECT_EQ(point_name(OpCode::head_logits, GemmShape{}), "gemm");
  EXPECT_EQ(point_name(OpCode::moe_router, GemmShape{}), "moe.router");
  EXPECT_EQ(point_name(OpCode::moe_fc1, GroupedGemmShape{}), "grouped_gemm");
  EXPECT_EQ(point_name(OpCode::attn_core, AttentionShape{}), "attention");
  EXPECT_EQ(point_name(OpCode::moe_permute, MemoryShape{}), "moe.permute");
}

/// A program with the given shapes and nothing else.
StepProgram program_with(std::vector<OpShape> shapes) {
  const Probe probe = small_probe(1);
  StepProgram program = lower(probe.model, probe.strategy, probe.batch, 1);
  program.shapes = std::move(shapes);
  return program;
}

TEST(SampleTable, SamplesOfOneShapeAreOnePointWhateverOpTheyComeFrom) {
  const GemmShape shape{.m = 16, .n = 32, .k = 64, .dtype = DType::bf16};
  const StepProgram program = program_with({MemoryShape{}, shape});
  SampleTable table;
  table.add(program,
            {.ops = {{.op = OpCode::attn_qkv, .pass = Pass::fwd, .shape = 1, .seconds = {1e-3, 3e-3, 100e-3}}}});
  table.add(program, {.ops = {{.op = OpCode::attn_out, .pass = Pass::fwd, .shape = 1, .seconds = {2e-3, 4e-3}}}});
  Measurements out;
  table.write_to(out);
  ASSERT_THAT(out.ops, SizeIs(1));
  EXPECT_EQ(out.ops[0].op, "gemm");
  EXPECT_EQ(out.ops[0].dtype, DType::bf16);
  EXPECT_EQ(std::get<GemmShape>(out.ops[0].shape), shape);
  EXPECT_DOUBLE_EQ(out.ops[0].time.in(unit::second), 3e-3);    // of 1 2 3 4 100
  EXPECT_DOUBLE_EQ(out.ops[0].spread.in(unit::second), 1e-3);  // of 2 1 0 1 97
  EXPECT_EQ(out.ops[0].repeats, 5);
}

TEST(SampleTable, PassesAndNamesAreKeptApart) {
  const StepProgram program = program_with({MemoryShape{.rows = {.count = 8}, .read_per_row = 4}});
  SampleTable table;
  table.add(program, {.ops = {{.op = OpCode::attn_norm, .pass = Pass::fwd, .shape = 0, .seconds = {1e-3}},
                              {.op = OpCode::attn_norm, .pass = Pass::igrad, .shape = 0, .seconds = {1e-3}},
                              {.op = OpCode::moe_norm, .pass = Pass::fwd, .shape = 0, .seconds = {1e-3}}}});
  Measurements out;
  table.write_to(out);
  EXPECT_THAT(out.ops, SizeIs(3));
  EXPECT_EQ(out.ops[0].dtype, program.strategy.precision);
}

TEST(SampleTable, CollectivesAndGapsAreMediansToo) {
  const StepProgram program = program_with({});
  SampleTable table;
  table.add(program, {.collectives = {{.op = "all_reduce", .ranks = 2, .bytes = 32, .seconds = {1e-6, 9e-6}}},
                      .gaps = {1e-6, 2e-6, 9e-6}});
  table.add_collectives({.collectives = {{.op = "all_reduce", .ranks = 2, .bytes = 32, .seconds = {2e-6}},
                                         {.op = "all_reduce", .ranks = 4, .bytes = 32, .seconds = {5e-6}}}});
  Measurements out;
  table.write_to(out);
  ASSERT_THAT(out.collectives, SizeIs(2));
  EXPECT_EQ(out.collectives[0].path, "node");
  EXPECT_EQ(out.collectives[0].ranks, 2);
  EXPECT_EQ(out.collectives[0].bytes, bytes(32.0));
  EXPECT_DOUBLE_EQ(out.collectives[0].time.in(unit::second), 2e-6);
  EXPECT_EQ(out.collectives[1].ranks, 4);
  EXPECT_DOUBLE_EQ(out.launch.in(unit::second), 2e-6);
}

TEST(SampleTable, OfRanksThatShareCoresItTakesMeans) {
  const StepProgram program = program_with({MemoryShape{.rows = {.count = 8}, .read_per_row = 4}});
  SampleTable table(Average::mean);
  table.add(program, {.ops = {{.op = OpCode::attn_norm, .pass = Pass::fwd, .shape = 0, .seconds = {1e-6, 1e-6, 7e-6}}},
                      .collectives = {{.op = "all_reduce", .ranks = 2, .bytes = 32, .seconds = {1e-6, 1e-6, 10e-6}}},
                      .gaps = {0.0, 0.0, 6e-6}});
  Measurements out;
  table.write_to(out);
  ASSERT_THAT(out.ops, SizeIs(1));
  EXPECT_DOUBLE_EQ(out.ops[0].time.in(unit::second), 3e-6);
  ASSERT_THAT(out.collectives, SizeIs(1));
  EXPECT_DOUBLE_EQ(out.collectives[0].time.in(unit::second), 4e-6);
  EXPECT_DOUBLE_EQ(out.launch.in(unit::second), 2e-6);
}

TEST(SampleTable, OpsOfTheSameTrafficAreOnePoint) {
  const StepProgram program = program_with({MemoryShape{.rows = {.count = 8}, .read_per_row = 8},
                                            MemoryShape{.rows = {.count = 4}, .read_per_row = 8, .written_per_row = 8},
                                            MemoryShape{.rows = {.count = 4}, .read_per_row = 8}});
  SampleTable table;
  for (const ShapeId shape : {0U, 1U, 2U}) {
    table.add(program, {.ops = {{.op = OpCode::attn_norm, .pass = Pass::fwd, .shape = shape, .seconds = {1e-3}}}});
  }
  Measurements out;
  table.write_to(out);
  ASSERT_THAT(out.ops, SizeIs(2));
  EXPECT_EQ(out.ops[0].repeats, 1);
  EXPECT_EQ(out.ops[1].repeats, 2);
}

TEST(SampleTable, WhatIsThereAlreadyStays) {
  const StepProgram program = program_with({MemoryShape{.rows = {.count = 8}, .read_per_row = 8},
                                            MemoryShape{.rows = {.count = 16}, .read_per_row = 4},
                                            MemoryShape{.rows = {.count = 16}, .read_per_row = 8}});
  const auto samples_of = [](ShapeId shape, double time) {
    return RankSamples{.ops = {{.op = OpCode::attn_norm, .pass = Pass::fwd, .shape = shape, .seconds = {time}}},
                       .collectives = {{.op = "all_reduce", .ranks = 2, .bytes = 32, .seconds = {time}}},
                       .gaps = {time}};
  };
  SampleTable asked, general;
  asked.add(program, samples_of(0, 1e-3));
  general.add(program, samples_of(1, 7e-3));
  general.add(program, samples_of(2, 7e-3));
  Measurements out;
  asked.write_to(out);
  general.write_to(out);
  ASSERT_THAT(out.ops, SizeIs(2));
  EXPECT_DOUBLE_EQ(out.ops[0].time.in(unit::second), 1e-3);
  EXPECT_DOUBLE_EQ(out.ops[1].time.in(unit::second), 7e-3);
  ASSERT_THAT(out.collectives, SizeIs(1));
  EXPECT_DOUBLE_EQ(out.collectives[0].time.in(unit::second), 1e-3);
  EXPECT_DOUBLE_EQ(out.launch.in(unit::second), 1e-3);
}

TEST(SampleTable, NothingMeasuredIsNoPoint) {
  Measurements out;
  SampleTable().write_to(out);
  EXPECT_THAT(out.ops, IsEmpty());
  EXPECT_THAT(out.collectives, IsEmpty());
  EXPECT_EQ(out.launch, Seconds::zero());
}

TEST(SampleTable, GroupsOnSeveralHostsArePointsOfTheirOwn) {
  const RankSamples samples{
      .ops = {},
      .collectives = {{.op = "all_reduce", .ranks = 2, .stride = 1, .bytes = 64, .seconds = {1e-6}},
                      {.op = "all_reduce", .ranks = 2, .stride = 2, .bytes = 64, .seconds = {9e-6}},
                      {.op = "all_reduce", .ranks = 3, .stride = 1, .bytes = 64, .seconds = {5e-6}}},
      .gaps = {}};
  SampleTable table;
  // Two ranks on each of two hosts; three cannot be on them in equal numbers.
  table.add_collectives(samples, [](const CollectiveSamples& group) { return group.ranks == 3 ? 0 : group.stride; });
  Measurements out;
  table.write_to(out);
  ASSERT_THAT(out.collectives, SizeIs(2));
  EXPECT_EQ(out.collectives[0].path, "node");
  EXPECT_EQ(out.collectives[0].nodes, 1);
  EXPECT_DOUBLE_EQ(out.collectives[0].time.in(unit::second), 1e-6);
  EXPECT_EQ(out.collectives[1].path, "rail");
  EXPECT_EQ(out.collectives[1].nodes, 2);
  EXPECT_DOUBLE_EQ(out.collectives[1].time.in(unit::second), 9e-6);
}

}  // namespace
}  // namespace orrery::executor
