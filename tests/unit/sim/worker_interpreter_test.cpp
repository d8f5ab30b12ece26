// SPDX-License-Identifier: Apache-2.0
#include "sim/worker_interpreter.h"

#include "base/errors.h"
#include "costmodel/calibrated_cost_model.h"
#include "program/lower_order.h"
#include "sim/simulate.h"
#include "sim/worker.h"
#include "tests/conformance/programs.h"
#include "tests/unit/base/test_folder.h"
#include "tests/unit/sim/worker_plan.h"

#include <array>
#include <cstdint>
#include <fstream>
#include <sstream>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::sim {
namespace {

using orrery::testing::kCalibration;
using orrery::testing::program_of;
using orrery::testing::small_plan;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::string kWorker = std::string(ORRERY_BINARY_DIR) + "/sim_test_worker";

WorkerInterpreter interpreter(const std::string& executable = kWorker) {
  return WorkerInterpreter(small_plan(), kCalibration, executable);
}

/// A program in place of the worker, which does what `script` says.
std::string fake_worker(const std::string& script) {
  const std::string path = orrery::testing::own_path("worker");
  std::ofstream(path) << "#!/bin/sh\n" << script << '\n';
  std::filesystem::permissions(path, std::filesystem::perms::owner_all);
  return path;
}

/// The message of the error that a run with this worker ends in.
template <class Error>
std::string failure_with(const std::string& executable) {
  try {
    interpreter(executable).run(program_of(small_plan()), {});
  } catch (const Error& error) {
    return error.what();
  }
  return "no such error";
}

TEST(WorkerInterpreter, ReturnsTheTraceThatThisProcessWouldMake) {
  const Plan plan = small_plan();
  const StepProgram program = program_of(plan);
  const costmodel::CalibratedCostModel model(plan.cluster, costmodel::read_calibration(kCalibration));
  const Trace here = simulate(time_program(program, model, plan.cluster, plan.device_of_rank, {}), plan.cluster, {});
  const Trace there = interpreter().run(program, {});
  EXPECT_EQ(there.header.interpreter, "simgrid");
  EXPECT_EQ(there.header.program_hash, hash_of(program));
  EXPECT_EQ(there.header.represents, here.header.represents);
  EXPECT_EQ(there.header.extrapolated, here.header.extrapolated);
  ASSERT_GT(here.spans.size(), 0);
  EXPECT_EQ(there.spans.key(), here.spans.key());
  // Not the last bits: SimGrid's clock of this process goes on where another test left it, and a date is the difference
  // of two sums that stand at tens of seconds, of which the last bit is 4e-15.
  EXPECT_THAT(there.spans.start(), ::testing::Pointwise(::testing::DoubleNear(1e-13), here.spans.start()));
  EXPECT_THAT(there.spans.end(), ::testing::Pointwise(::testing::DoubleNear(1e-13), here.spans.end()));
  ASSERT_EQ(there.steps.size(), 1);
  EXPECT_NEAR(there.steps[0].time.in(unit::second), here.steps[0].time.in(unit::second), 1e-13);
}

TEST(WorkerInterpreter, LeavesOutWhatOnlyFilesSay) {
  const Trace complete = interpreter().run(program_of(small_plan()), {});
  EXPECT_FALSE(complete.memory.empty());
  EXPECT_GT(complete.steps.at(0).peak_memory, Bytes::zero());
  const Trace trace = interpreter().run(lower_order(small_plan()), {.complete = false});
  EXPECT_EQ(trace.header.program_hash, "");
  EXPECT_TRUE(trace.memory.empty());
  EXPECT_EQ(trace.spans.key(), complete.spans.key());
  EXPECT_EQ(trace.spans.start(), complete.spans.start());
  EXPECT_EQ(trace.spans.end(), complete.spans.end());
  EXPECT_EQ(trace.steps.at(0).time, complete.steps.at(0).time);
}

TEST(WorkerInterpreter, LetsItsSpansBeSeenAsTheyCome) {
  const Trace kept = interpreter().run(program_of(small_plan()), {});
  Simulation simulation = interpreter().start({}, true);
  Spans seen;
  std::vector<std::int32_t> ranks;
  const Simulation::Result result =
      simulation.finish(program_of(small_plan()), [&](const Trace& record, const Spans& spans) {
        EXPECT_EQ(record.steps.at(0).time, kept.steps.at(0).time);
        ranks.push_back(spans.rank().front());
        EXPECT_THAT(spans.rank(), ::testing::Each(ranks.back()));
        for (std::size_t i = 0; i < spans.size(); ++i) seen.push_back(spans.at(i));
      });
  EXPECT_EQ(seen.rank(), kept.spans.rank());
  EXPECT_EQ(seen.key(), kept.spans.key());
  EXPECT_EQ(seen.start(), kept.spans.start());
  EXPECT_EQ(seen.end(), kept.spans.end());
  EXPECT_EQ(std::ssize(ranks), std::ssize(kept.header.represents));
  EXPECT_EQ(result.trace.spans.size(), 0);
  ASSERT_TRUE(result.use);
  EXPECT_FALSE(result.use->links.empty());
  EXPECT_FALSE(interpreter().start({}, false).finish(program_of(small_plan()), [](const auto&, const auto&) {}).use);
}

TEST(WorkerInterpreter, PassesOnWhatWhoSeesItsSpansFinds) {
  Simulation simulation = interpreter().start({}, false);
  const auto find = [](const Trace&, const Spans&) { throw InternalError("found"); };
  try {
    simulation.finish(program_of(small_plan()), find);
    FAIL() << "expected an InternalError";
  } catch (const InternalError& error) {
    EXPECT_STREQ(error.what(), "found");
  }
}

TEST(WorkerInterpreter, IsCalledAgainAndFromSeveralThreadsAtOnce) {
  const StepProgram program = program_of(small_plan());
  const WorkerInterpreter simgrid = interpreter();
  std::array<std::vector<Seconds>, 4> steps;
  {
    std::vector<std::jthread> threads;
    for (std::vector<Seconds>& of_thread : steps) {
      threads.emplace_back([&] {
        for (int i = 0; i < 3; ++i) of_thread.push_back(simgrid.run(program, {}).steps.at(0).time);
      });
    }
  }
  for (const std::vector<Seconds>& of_thread : steps) {
    EXPECT_THAT(of_thread, ::testing::ElementsAre(steps[0][0], steps[0][0], steps[0][0]));
  }
}

TEST(WorkerInterpreter, TellsOfJobsBesideIt) {
  Plan other = small_plan();
  other.device_of_rank = {DeviceIndex(8), DeviceIndex(9), DeviceIndex(10), DeviceIndex(11)};
  WorkerInterpreter alone = interpreter();
  WorkerInterpreter beside = interpreter();
  beside.run_beside({{.name = "other", .plan = other, .calibration = kCalibration}});
  const RunInput input{.all_ranks = true, .steps_only = true};
  const StepProgram program = program_of(small_plan());
  const Trace first = alone.run(program, input), second = beside.run(program, input);
  // On nodes of their own and one leaf that is not oversubscribed they share nothing.
  EXPECT_NEAR(second.steps[0].time / first.steps[0].time, 1.0, 1e-9);
  EXPECT_THAT(second.header.notes, ::testing::Contains(HasSubstr("beside other: ")));
  EXPECT_THAT(first.header.notes, ::testing::Not(::testing::Contains(HasSubstr("beside"))));
}

TEST(WorkerInterpreter, SimulatesAtTheFidelityOfThePlan) {
  Plan plan = small_plan();
  plan.fidelity = Fidelities(Fidelity::l0, {{OpCode::moe_dispatch, Fidelity::l1}});
  const Trace trace = WorkerInterpreter(plan, kCalibration, kWorker).run(program_of(plan), {});
  EXPECT_THAT(trace.header.notes, ::testing::Contains(HasSubstr("SimGrid at L0, moe.dispatch=L1: ")));
}

TEST(WorkerInterpreter, RunsOtherStrategiesOfTheSameModel) {
  Plan other = small_plan();
  other.strategy.pp = 1;
  other.strategy.stages = even_stages(other.model.num_layers(), 1);
  const StepProgram program = program_of(other);
  EXPECT_THAT(interpreter().unsupported(program), IsEmpty());
  const Trace trace = interpreter().run(program, {.num_steps = 2, .steps_only = true});
  EXPECT_EQ(trace.spans.size(), 0);
  ASSERT_EQ(trace.steps.size(), 2);
  EXPECT_GT(trace.steps[0].time, Seconds::zero());
}

TEST(WorkerInterpreter, PlacesASmallProgramOnTheFirstDevices) {
  Plan whole = small_plan();
  whole.device_of_rank.clear();
  const WorkerInterpreter on_whole_cluster(whole, kCalibration, kWorker);
  const StepProgram program = program_of(small_plan());
  EXPECT_THAT(on_whole_cluster.unsupported(program), IsEmpty());
  EXPECT_EQ(on_whole_cluster.run(program, {}).steps[0].time, interpreter().run(program, {}).steps[0].time);
}

TEST(WorkerInterpreter, RefusesAProgramBuiltByHand) {
  orrery::testing::ProgramBuilder builder(2, 2);
  builder.compute(0, microseconds(1));
  const auto refused = interpreter().unsupported(builder.program());
  ASSERT_EQ(refused.size(), 1);
  EXPECT_EQ(refused[0].reason,
            "simgrid: expected a program that was lowered from moe-tiny-cpu, got one that was built by hand: the "
            "worker process lowers the plan again and cannot know it");
}

TEST(WorkerInterpreter, RefusesALoweredProgramThatWasChanged) {
  StepProgram program = program_of(small_plan());
  program.classes[0].ops.pop_back();
  try {
    interpreter().run(program, {});
    FAIL() << "expected a BackendError";
  } catch (const BackendError& error) {
    EXPECT_THAT(error.what(), HasSubstr("got one that was built by hand"));
  }
}

TEST(WorkerInterpreter, RefusesAProgramWhoseTensorsWereChanged) {
  StepProgram program = program_of(small_plan());
  program.classes[0].tensors.back().width += 1;
  EXPECT_THROW(interpreter().run(program, {}), BackendError);
  EXPECT_NO_THROW(interpreter().run(program, {.complete = false}));  // it does not look at them
}

TEST(WorkerInterpreter, RefusesAnotherNumberOfRanks) {
  const auto refused = interpreter().unsupported(orrery::testing::ProgramBuilder(1, 8).program());
  ASSERT_EQ(refused.size(), 1);
  EXPECT_EQ(refused[0].reason, "simgrid: expected a program of 4 ranks, as the plan has, got one of 8");
}

TEST(WorkerInterpreter, ReportsTheUsersMistakesAsSuch) {
  const WorkerInterpreter simgrid(small_plan(), "no/such/calibration.json", kWorker);
  EXPECT_THROW(simgrid.run(program_of(small_plan()), {}), ConfigError);
}

TEST(WorkerInterpreter, PassesOnTheFailuresOfItsWorker) {
  EXPECT_EQ(failure_with<InternalError>(fake_worker("echo broken >&2; exit 1")), "broken");
  EXPECT_EQ(failure_with<ConfigError>(fake_worker("echo wrong >&2; exit 2")), "wrong");
  EXPECT_EQ(failure_with<BackendError>(fake_worker("echo full >&2; exit 4")), "full");
  EXPECT_EQ(failure_with<BackendError>(fake_worker("echo what >&2; exit 9")),
            "the simulation worker ended with exit code 9, expected 0, 1, 2 or 4: what");
}

TEST(WorkerInterpreter, SaysThatItsWorkerWasKilled) {
  EXPECT_EQ(failure_with<BackendError>(fake_worker("kill -KILL $$")),
            "the simulation worker was ended by signal 9 (Killed)");
}

TEST(WorkerInterpreter, SaysThatItsWorkerIsNotThere) {
  EXPECT_EQ(failure_with<BackendError>("/no/such/program"), "cannot start /no/such/program: No such file or directory");
}

TEST(WorkerInterpreter, TakesNoHalfTraces) {
  EXPECT_THAT(failure_with<BackendError>(fake_worker("exit 0")),
              HasSubstr("the simulation worker wrote no whole trace: "));
}

TEST(Worker, RefusesARequestItCannotReadWithExitCode2) {
  std::istringstream in("nonsense");
  std::ostringstream out, errors;
  EXPECT_EQ(worker_main(in, out, errors), 2);
  EXPECT_EQ(out.str(), "");
  EXPECT_THAT(errors.str(), HasSubstr("request:1"));
}

}  // namespace
}  // namespace orrery::sim
