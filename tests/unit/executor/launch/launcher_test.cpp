// SPDX-License-Identifier: Apache-2.0
#include "executor/launch/launcher.h"

#include "base/errors.h"
#include "executor/comm/clock.h"
#include "executor/launch/child_process.h"
#include "executor/launch/memory_file.h"
#include "executor/launch/seat_file.h"
#include "tests/unit/executor/bootstrap/jobs.h"

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

namespace orrery::executor {
namespace {

using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

const std::string kRankProgram = ORRERY_BINARY_DIR "/test_rank_program";

LaunchSpec ranks_that(const std::string& what, int num_ranks) {
  return {.executable = kRankProgram,
          .arguments = {what},
          .environment = {{"COLOUR", "blue"}},
          .segment = {.num_ranks = num_ranks, .time_out = std::chrono::seconds(60)},
          .grace = std::chrono::seconds(5),
          .on_line = [](int, std::string_view) {}};
}

std::string error_of_launch(const LaunchSpec& spec) {
  try {
    launch(spec);
  } catch (const BackendError& error) {
    return error.what();
  }
  return "";
}

bool has_children() { return ::waitpid(-1, nullptr, WNOHANG) >= 0 || errno != ECHILD; }

std::set<std::string> shared_memory_names() {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator("/dev/shm")) names.insert(entry.path().filename());
  return names;
}

/// Whether a process runs; a zombie does not.
bool runs(pid_t process) {
  std::ifstream status("/proc/" + std::to_string(process) + "/stat");
  std::string number, name, state;
  return static_cast<bool>(status >> number >> name >> state) && state != "Z";
}

class LauncherWithRanks : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Ranks, LauncherWithRanks, ::testing::Values(1, 2, 4), ::testing::PrintToStringParamName());

TEST_P(LauncherWithRanks, EveryCollectiveIsRightBetweenProcesses) {
  EXPECT_EQ(error_of_launch(ranks_that("collectives", GetParam())), "");
}

TEST(Launcher, ReturnsTheResultOfEachRankAndTellsItItsPlaceAndItsThreads) {
  LaunchSpec spec = ranks_that("threads", 2);
  spec.threads_per_rank = 3;
  const LaunchResult result = launch(spec);
  EXPECT_EQ(result.threads_per_rank, 3);
  EXPECT_THAT(result.results, ElementsAre("rank 0 of 2, threads 3, OMP_NUM_THREADS 3, COLOUR blue",
                                          "rank 1 of 2, threads 3, OMP_NUM_THREADS 3, COLOUR blue"));
}

TEST(Launcher, SharesTheCoresAmongTheRanks) {
  EXPECT_EQ(threads_per_rank(16, 4), 4);
  EXPECT_EQ(threads_per_rank(16, 5), 3);
  EXPECT_EQ(threads_per_rank(2, 4), 1);
  const int num_cores = static_cast<int>(std::thread::hardware_concurrency());
  EXPECT_EQ(launch(ranks_that("threads", 2)).threads_per_rank, threads_per_rank(num_cores, 2));
}

TEST(Launcher, ReturnsResultsThatAreLargerThanAPipe) {
  const LaunchResult result = launch(ranks_that("much", 2));
  EXPECT_TRUE(result.results[0] == std::string(3'000'000, 'a'));
  EXPECT_TRUE(result.results[1] == std::string(3'000'000, 'b'));
}

TEST(Launcher, PassesOnWhatRanksPrint) {
  LaunchSpec spec = ranks_that("lines", 2);
  std::vector<std::string> lines;
  spec.on_line = [&](int rank, std::string_view line) {
    lines.push_back(std::to_string(rank) + ": " + std::string(line));
  };
  launch(spec);
  EXPECT_THAT(lines, UnorderedElementsAre("0: first of 0", "0: last of 0, without an end", "1: first of 1",
                                          "1: last of 1, without an end"));
}

TEST(Launcher, PrintsTheLinesOfRanksToStderrByDefault) {
  LaunchSpec spec = ranks_that("lines", 1);
  spec.on_line = nullptr;
  ::testing::internal::CaptureStderr();
  launch(spec);
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "[rank 0] first of 0\n[rank 0] last of 0, without an end\n");
}

/// What rank 1 does wrong, and what the launcher says about it.
struct Trouble {
  std::string what;
  std::string message;
};

class LauncherInTrouble : public ::testing::TestWithParam<Trouble> {};
const std::string kPlace = "rank 1, step/mb0/stage1/layer3/fwd/moe.experts: ";
INSTANTIATE_TEST_SUITE_P(Trouble, LauncherInTrouble,
                         ::testing::Values(Trouble{"killed", kPlace + "killed by signal 9 (Killed)"},
                                           Trouble{"exit", kPlace + "ended with exit status 3"},
                                           Trouble{"throw", kPlace + "no space left on device"},
                                           Trouble{"config",
                                                   kPlace + "expected text, got nothing\n  hint: give it a file"}),
                         [](const auto& trouble) { return trouble.param.what; });

TEST_P(LauncherInTrouble, SaysWhoWhereAndHowAndLeavesNothingBehind) {
  const std::set<std::string> names_before = shared_memory_names();
  const Instant start = now();
  EXPECT_EQ(error_of_launch(ranks_that(GetParam().what, 3)), GetParam().message);
  EXPECT_LT(now() - start, std::chrono::seconds(30)) << "well before the time-out of a wait";
  EXPECT_FALSE(has_children());
  EXPECT_EQ(shared_memory_names(), names_before);
}

TEST(Launcher, ReportsABrokenCheckOfARank) {
  EXPECT_THAT(
      error_of_launch(ranks_that("bug", 2)),
      ::testing::MatchesRegex("rank 1, step/mb0/stage1/layer3/fwd/moe.experts: .*rank_program.cpp:[0-9]+: CHECK "
                              "failed: 1 \\+ 1 == 3"));
}

TEST(Launcher, EndsARankThatHangsAfterTheTimeOutAndTheGrace) {
  LaunchSpec spec = ranks_that("hang", 2);
  spec.segment.time_out = std::chrono::milliseconds(500);
  spec.grace = std::chrono::milliseconds(100);
  EXPECT_EQ(error_of_launch(spec),
            "rank 0, step/end: barrier: rank 1 did not come within 0.5 s; its last op was "
            "step/mb0/stage1/layer3/fwd/moe.experts");
  EXPECT_FALSE(has_children());
}

TEST(Launcher, EndsARankThatHangsWhileNobodyWaitsForIt) {
  LaunchSpec spec = ranks_that("hang-alone", 1);
  spec.segment.time_out = std::chrono::milliseconds(500);
  spec.grace = std::chrono::milliseconds(100);
  spec.watch = true;
  EXPECT_EQ(error_of_launch(spec), "rank 0, step/mb0/stage1/layer3/fwd/moe.experts: no new op within 0.55 s");
  EXPECT_FALSE(has_children());
}

/// The ranks that a launch has lost.
std::vector<int> lost_by(const LaunchSpec& spec) {
  try {
    launch(spec);
  } catch (const RanksFailed& failed) {
    EXPECT_LE(failed.times().last_sign, failed.times().noticed);
    EXPECT_LE(failed.times().noticed, failed.times().ended);
    return failed.lost();
  }
  ADD_FAILURE() << "nothing failed";
  return {};
}

TEST(Launcher, ARankIsLostThatDiedAndNotOneThatSaidWhyItCannotGoOn) {
  EXPECT_THAT(lost_by(ranks_that("killed", 3)), ElementsAre(1));
  EXPECT_THAT(lost_by(ranks_that("exit", 3)), ElementsAre(1));
  EXPECT_THAT(lost_by(ranks_that("throw", 3)), ElementsAre());
  EXPECT_THAT(lost_by(ranks_that("bug", 3)), ElementsAre());
  EXPECT_THAT(lost_by(ranks_that("all-killed", 3)), UnorderedElementsAre(0, 1, 2));
}

TEST(Launcher, ARankIsLostThatHangsAndNotOneThatWaitsForIt) {
  LaunchSpec spec = ranks_that("hang-behind", 3);
  spec.segment.time_out = std::chrono::milliseconds(500);
  spec.grace = std::chrono::milliseconds(500);
  EXPECT_THAT(error_of_launch(spec), ::testing::StartsWith("rank 0, step/recv: receive: rank 2 did not come"));
  EXPECT_THAT(lost_by(spec), ElementsAre(1));
  spec.arguments = {"hang-alone"};
  spec.segment.num_ranks = 1;
  spec.watch = true;
  EXPECT_THAT(lost_by(spec), ElementsAre(0));
}

TEST(Launcher, ARankIsLostThatComesTooLate) {
  LaunchSpec spec = ranks_that("slow", 2);
  spec.segment.time_out = std::chrono::milliseconds(300);
  EXPECT_THAT(lost_by(spec), ElementsAre(1));
}

TEST(Launcher, HandsOnPartsOfAResultAsTheyCome) {
  LaunchSpec spec = ranks_that("two-parts", 1);
  std::string seen;
  spec.on_result = [&](int rank, std::string_view bytes) {
    seen += std::to_string(rank) + ":" + std::string(bytes) + " ";
  };
  EXPECT_THAT(launch(spec).results, ElementsAre("firstsecond"));
  EXPECT_EQ(seen, "0:first 0:second ");
}

TEST(Launcher, SaysWhenTheProgramCannotBeStarted) {
  LaunchSpec spec = ranks_that("threads", 2);
  spec.executable = "/nowhere/orrery-rank";
  EXPECT_EQ(error_of_launch(spec), "cannot start '/nowhere/orrery-rank': No such file or directory");
  EXPECT_FALSE(has_children());
}

TEST(Launcher, ARankThatIsStartedByHandRefusesWithASentence) {
  ChildProcess child({kRankProgram, "threads"}, {}, {});
  std::string printed;
  std::optional<int> status;
  while (!status) {
    status = child.poll_exit([](int) {});
    child.read_pipes([&](std::string_view line) { printed += std::string(line) + "\n"; });
  }
  EXPECT_EQ(WEXITSTATUS(*status), 2);
  EXPECT_EQ(
      printed,
      "ORRERY_RANK: expected a number, got ''\n  hint: this program is started by `orrery execute`, not by hand\n");
}

/// Two launchers of two ranks each, as threads of this test; what each one died of.
std::vector<std::string> errors_of_job(const std::string& what, std::vector<std::vector<std::string>>& results) {
  const HostPort rendezvous = testing::free_place();
  results.resize(2);
  return testing::errors_of_processes(2, [&](int process) {
    Job job(testing::options_of(process, 2, rendezvous), 4, {});
    LaunchSpec spec = ranks_that(what, 4);
    spec.segment.clock_offset = job.clock_offset();
    spec.job = &job;
    results[static_cast<std::size_t>(process)] = launch(spec).results;
    job.finish();
  });
}

TEST(LauncherOfAJob, EveryCollectiveIsRightBetweenProcessesOfTwoHosts) {
  std::vector<std::vector<std::string>> results;
  EXPECT_THAT(errors_of_job("collectives", results), ElementsAre("", ""));
}

TEST(LauncherOfAJob, BringsTheResultsOfAllRanksToProcess0) {
  std::vector<std::vector<std::string>> results;
  EXPECT_THAT(errors_of_job("much", results), ElementsAre("", ""));
  EXPECT_TRUE(results[1].empty());
  ASSERT_EQ(results[0].size(), 4);
  for (std::size_t rank = 0; rank < 4; ++rank)
    EXPECT_TRUE(results[0][rank] == std::string(3'000'000, static_cast<char>('a' + rank))) << rank;
}

TEST(LauncherOfAJob, ARankThatDiesEndsBothLaunchersWithWhoWhereAndHow) {
  std::vector<std::vector<std::string>> results;
  const auto errors = errors_of_job("killed", results);  // rank 1, of the first host
  const std::string how = "killed by signal 9 (Killed)";
  EXPECT_EQ(errors[0], kPlace + how);
  EXPECT_THAT(errors[1], ::testing::MatchesRegex(kPlace + "on .* \\(ranks 0 to 1\\): killed by signal 9 \\(Killed\\)"));
  EXPECT_FALSE(has_children());
}

TEST(LauncherOfAJob, ARankThatFailsWhenThoseOfProcess0HaveEndedIsNamedThereAtOnce) {
  const Instant start = now();
  std::vector<std::vector<std::string>> results;
  const auto errors = errors_of_job("late", results);
  EXPECT_THAT(errors[0],
              ::testing::MatchesRegex("rank 3, step/end: on .* \\(ranks 2 to 3\\): no space left on device"));
  EXPECT_EQ(errors[1], "rank 3, step/end: no space left on device");
  EXPECT_LT(now() - start, std::chrono::seconds(20)) << "well before the time-out of the job";
}

TEST(LauncherOfAJob, APlaceInAJobIsReadAsItWasWritten) {
  TcpSeat seat;
  seat.places = {{"10.0.0.1", 4711}, {"fe80::1", 80}};
  seat.hosts = {0, 1};
  seat.token = "\"secret\"";
  const MemoryFile file(to_json(seat));
  const TcpSeat read = read_seat(file.path());
  EXPECT_EQ(to_text(read.places[0]), "10.0.0.1:4711");
  EXPECT_EQ(to_text(read.places[1]), "[fe80::1]:80");
  EXPECT_EQ(read.hosts, seat.hosts);
  EXPECT_EQ(read.token, seat.token);
  const MemoryFile wrong(R"({"schema": "seat/1", "token": "a", "places": ["there"], "hosts": [-1]})");
  EXPECT_THROW(read_seat(wrong.path()), ConfigError);
}

class LauncherThatDies : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Signals, LauncherThatDies, ::testing::Values(SIGINT, SIGKILL),
                         [](const auto& trouble) { return trouble.param == SIGINT ? "Interrupted" : "Killed"; });

TEST_P(LauncherThatDies, TakesItsRanksWithIt) {
  const std::set<std::string> names_before = shared_memory_names();
  ChildProcess launcher({kRankProgram, "launcher"}, {}, {});
  std::vector<pid_t> ranks;
  while (ranks.size() < 2) {
    ASSERT_FALSE(launcher.poll_exit([](int) {}).has_value());
    launcher.read_pipes([&](std::string_view line) { ranks.push_back(std::stoi(std::string(line))); });
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_TRUE(runs(ranks[0]) && runs(ranks[1]));
  launcher.signal(GetParam());
  const Instant deadline = now() + std::chrono::seconds(30);
  while ((runs(ranks[0]) || runs(ranks[1])) && now() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_FALSE(runs(ranks[0]));
  EXPECT_FALSE(runs(ranks[1]));
  EXPECT_EQ(shared_memory_names(), names_before);
}

}  // namespace
}  // namespace orrery::executor
