// SPDX-License-Identifier: Apache-2.0
#include "executor/bootstrap/job.h"

#include "base/errors.h"
#include "executor/bootstrap/refusal.h"
#include "executor/comm/clock.h"
#include "executor/comm/host_name.h"
#include "tests/unit/executor/bootstrap/jobs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using testing::errors_of_processes;
using testing::free_place;
using testing::options_of;

const JobFacts kFacts = {{"program", "abc"}, {"steps", "10"}};
const std::string kRefused = "process 0 of the job has refused it, and says why";

TEST(Job, SharesTheRanksAndTellsEachWhereAllListen) {
  const HostPort rendezvous = free_place();
  std::vector<TcpSeat> seats(3);
  const auto errors = errors_of_processes(3, [&](int process) {
    Job job(options_of(process, 3, rendezvous), 6, kFacts);
    EXPECT_EQ(job.is_first(), process == 0);
    EXPECT_EQ(job.first_rank(), 2 * process);
    EXPECT_EQ(job.num_local(), 2);
    EXPECT_EQ(job.num_ranks_on_host(), 6) << "all processes share one host here";
    const auto listeners = job.take_listeners();
    seats[static_cast<std::size_t>(process)] = job.seat();
    for (int i = 0; i < 2; ++i) {
      EXPECT_EQ(to_text(own_place(listeners[static_cast<std::size_t>(i)])),
                to_text(job.seat().places[static_cast<std::size_t>(job.first_rank() + i)]));
    }
    job.finish();
  });
  EXPECT_THAT(errors, Each(""));
  EXPECT_THAT(seats[0].hosts, ElementsAre(0, 0, 1, 1, 2, 2));
  for (const TcpSeat& seat : seats) {
    for (std::size_t rank = 0; rank < 6; ++rank) {
      EXPECT_EQ(seat.places[rank].host, "127.0.0.1") << "loopback unless told otherwise";
      EXPECT_EQ(seat.places[rank].port, seats[0].places[rank].port);
    }
  }
}

TEST(Job, OverMpiHasOneRankInEachProcessAndNobodyListens) {
  const HostPort rendezvous = free_place();
  const auto errors = errors_of_processes(2, [&](int process) {
    JobOptions options = options_of(process, 2, rendezvous);
    options.carrier = Carrier::mpi;
    Job job(options, 2, kFacts);
    EXPECT_EQ(job.num_local(), 1);
    EXPECT_TRUE(job.take_listeners().empty());
    EXPECT_TRUE(job.seat().places.empty());
    job.finish();
  });
  EXPECT_THAT(errors, Each(""));
  JobOptions options = options_of(0, 2, rendezvous);
  options.carrier = Carrier::mpi;
  try {
    const Job job(options, 4, kFacts);
    FAIL() << "a process would have two ranks";
  } catch (const ConfigError& error) {
    EXPECT_STREQ(error.what(),
                 "over MPI: expected one process for each of the 4 ranks of the plan, got 2\n  hint: mpirun -n 4");
  }
}

bool answers(const HostPort& place) {
  const Descriptor socket = start_connecting(place);
  std::optional<int> outcome;
  while (!(outcome = outcome_of_connecting(socket))) std::this_thread::yield();
  return outcome == 0;
}

TEST(Job, IsReachedAtTheAddressOfTheRendezvousAlone) {
  const HostPort rendezvous = free_place();
  const auto errors = errors_of_processes(1, [&](int) {
    const Job job(options_of(0, 1, rendezvous), 1, kFacts);
    for (const int port : {rendezvous.port, job.seat().places[0].port}) {
      EXPECT_TRUE(answers({"127.0.0.1", port}));
      EXPECT_FALSE(answers({"127.0.0.2", port})) << "an address of this machine, too, but not that one";
    }
  });
  EXPECT_THAT(errors, Each(""));
}

TEST(Job, SaysWhereItListensWhenToldAnotherAddressAndWhereItIsMetWhenToldEverywhere) {
  const HostPort rendezvous = free_place();
  const auto errors = errors_of_processes(3, [&](int process) {
    JobOptions options = options_of(process, 3, rendezvous);
    if (process == 1) options.listen = "127.0.0.2";
    if (process == 2) options.listen = "0.0.0.0";
    Job job(options, 3, kFacts);
    const std::vector<HostPort> places = job.seat().places;
    EXPECT_EQ(places[0].host, "127.0.0.1");
    EXPECT_EQ(places[1].host, "127.0.0.2");
    EXPECT_EQ(places[2].host, "127.0.0.1");
    for (const HostPort& place : places) EXPECT_TRUE(answers(place)) << to_text(place);
    job.gather({""});
    job.finish();
  });
  EXPECT_THAT(errors, Each(""));
}

TEST(Job, BringsTheResultsTogetherAtProcess0) {
  const HostPort rendezvous = free_place();
  const std::string large(2'000'000, 'x');
  const auto errors = errors_of_processes(2, [&](int process) {
    Job job(options_of(process, 2, rendezvous), 4, kFacts);
    const auto results =
        job.gather(process == 0 ? std::vector<std::string>{"a", "b"} : std::vector<std::string>{large, ""});
    const std::vector<std::string> all = {"a", "b", large, ""};
    EXPECT_TRUE(results == (process == 0 ? all : std::vector<std::string>{}));
    job.finish();
  });
  EXPECT_THAT(errors, Each(""));
}

TEST(Job, OfElevenProcessesTheTenthIsNotTakenForTheFirst) {
  const HostPort rendezvous = free_place();
  const auto errors = errors_of_processes(11, [&](int process) {
    Job job(options_of(process, 11, rendezvous), 11, kFacts);
    if (process == 1) std::this_thread::sleep_for(std::chrono::milliseconds(300));
    const auto results = job.gather({std::to_string(process)});
    if (process == 0) {
      EXPECT_THAT(results, ElementsAre("0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"));
    }
    if (process == 10) testing::die_as(job.options(), 10);  // all it had to say has been said
    job.finish();
  });
  EXPECT_THAT(errors, Each(""));
}

TEST(Job, ResultsOfAProcessThatHasDiedAreNotWaitedFor) {
  const HostPort rendezvous = free_place();
  const Instant start = now();
  const auto errors = errors_of_processes(2, [&](int process) {
    Job job(options_of(process, 2, rendezvous), 4, kFacts);
    if (process == 0) job.gather({"a", "b"});
    if (process == 1) testing::die_as(job.options(), 1);
  });
  EXPECT_THAT(errors[0], ::testing::MatchesRegex("the results of .* \\(ranks 2 to 3\\) did not come"));
  EXPECT_LT(now() - start, std::chrono::seconds(20)) << "well before the time-out";
}

TEST(Job, MeasuresByHowMuchTheClocksDiffer) {
  const HostPort rendezvous = free_place();
  errors_of_processes(2, [&](int process) {
    const Job job(options_of(process, 2, rendezvous), 2, kFacts);
    EXPECT_LE(std::chrono::abs(job.clock_offset()), job.clock_error()) << "the threads of a test have one clock";
    EXPECT_LT(job.clock_error(), std::chrono::milliseconds(100));
    EXPECT_GE(job.largest_clock_error(), job.clock_error());
  });
}

TEST(Job, WhatAProcessHasOtherwiseThanProcess0IsNamedOnceThere) {
  const HostPort rendezvous = free_place();
  auto errors = errors_of_processes(3, [&](int process) {
    JobFacts facts = kFacts;
    if (process == 2) facts = {{"program", "xyz"}, {"steps", "20"}};
    const Job job(options_of(process, 3, rendezvous), 3, facts);
  });
  EXPECT_THAT(errors[0], ::testing::MatchesRegex("process 2 on .*: expected program abc of process 0, got xyz\n"
                                                 "process 2 on .*: expected steps 10 of process 0, got 20"));
  EXPECT_THAT(errors, ElementsAre(errors[0], kRefused, kRefused));
}

TEST(Job, ProcessesThatBelieveInDifferentWorldsDoNotStart) {
  const HostPort rendezvous = free_place();
  const auto errors = errors_of_processes(2, [&](int process) {
    const int num_processes = process == 0 ? 2 : 4;
    const Job job(options_of(process, num_processes, rendezvous), 4, kFacts);
  });
  const std::string why = "process 1 believes in 4 processes, process 0 in 2";
  EXPECT_THAT(errors,
              ElementsAre(why, "process 0 of the job at " + to_text(rendezvous) + " refuses this process: " + why +
                                   "\n  hint: all processes of a job need the same plan, settings, number of "
                                   "processes and token"));
}

TEST(Job, ProcessesOfDifferentSizeSayHowManyRanksTheyStart) {
  const HostPort rendezvous = free_place();
  const auto errors = errors_of_processes(2, [&](int process) {
    JobOptions options = options_of(process, 2, rendezvous);
    options.num_local = 2 + process;
    Job job(options, 5, kFacts);
    EXPECT_EQ(job.num_ranks(), 5);
    EXPECT_EQ(job.first_rank(), process == 0 ? 0 : 2);
    EXPECT_EQ(job.num_local(), 2 + process);
    EXPECT_EQ(job.num_ranks_on_host(), 5);
    EXPECT_THAT(job.seat().hosts, ElementsAre(0, 0, 1, 1, 1));
    EXPECT_EQ(job.seat().places.size(), 5U);
    EXPECT_THAT(job.name_of_process(1), ::testing::EndsWith(" (ranks 2 to 4)"));
    EXPECT_EQ(text_of_shares(job), "2 processes with 2 + 3 ranks");
    const auto results =
        job.gather(process == 0 ? std::vector<std::string>{"a", "b"} : std::vector<std::string>{"c", "d", "e"});
    if (process == 0) {
      EXPECT_THAT(results, ElementsAre("a", "b", "c", "d", "e"));
    }
    job.finish();
  });
  EXPECT_THAT(errors, Each(""));
}

TEST(Job, SharesThatDoNotMakeUpTheRanksAreRefused) {
  const HostPort rendezvous = free_place();
  const auto errors = errors_of_processes(2, [&](int process) {
    JobOptions options = options_of(process, 2, rendezvous);
    options.num_local = 2;
    const Job job(options, 5, kFacts);
  });
  EXPECT_THAT(errors, ElementsAre("expected processes that start the 5 ranks of the plan, got 2 + 2\n  hint: "
                                  "--local-ranks N says how many a process starts",
                                  kRefused));
}

TEST(Job, TheProcessesMustDivideTheRanks) {
  EXPECT_THAT(errors_of_processes(1, [](int) { const Job job(options_of(0, 3, free_place()), 4, kFacts); }),
              ElementsAre("expected a number of processes that divides the 4 ranks of the plan, got 3\n  hint: where "
                          "they start different numbers of ranks, each says its own: --local-ranks N"));
}

TEST(Job, WhoDoesNotComeIsNamedAfterTheTimeOut) {
  const HostPort rendezvous = free_place();
  const auto errors = errors_of_processes(
      1, [&](int) { const Job job(options_of(0, 3, rendezvous, std::chrono::milliseconds(200)), 3, kFacts); });
  EXPECT_THAT(errors,
              ElementsAre("of 3 processes these did not come to " + to_text(rendezvous) + " within 0.2 s: 1, 2"));
}

TEST(Job, WhoSaysWhyItDoesNotComeIsNotWaitedFor) {
  const HostPort rendezvous = free_place();
  const auto errors = errors_of_processes(2, [&](int process) {
    const JobOptions options = options_of(process, 2, rendezvous);
    if (process == 1) return refuse_job(options.place, options.token, "none.txt: no such file", options.time_out);
    const Job job(options, 2, kFacts);
  });
  EXPECT_EQ(errors[0], "process 1 on " + own_host_name() + ": none.txt: no such file");
  EXPECT_EQ(errors[1], "");
}

TEST(Job, WhatDiffersIsNamedWithThePathsThatItIsKnownBy) {
  const HostPort rendezvous = free_place();
  const auto errors = errors_of_processes(2, [&](int process) {
    const JobFacts facts = {{"program", process == 0 ? "a1" : "b2"},
                            {"path of program", process == 0 ? "here/a.json" : "there/b.json"}};
    const Job job(options_of(process, 2, rendezvous), 2, facts);
  });
  EXPECT_EQ(errors[0], "process 1 on " + own_host_name() +
                           ": expected program a1 (here/a.json) of process 0, got b2 (there/b.json)");
}

TEST(Job, ProcessesWaitForProcess0ToWriteItsFilesAndNameItWhenItDies) {
  const HostPort rendezvous = free_place();
  const auto errors = errors_of_processes(2, [&](int process) {
    Job job(options_of(process, 2, rendezvous), 2, kFacts);
    job.gather({"a"});
    if (process == 0) throw BackendError("no space left on device");
    job.finish();
  });
  EXPECT_THAT(errors,
              ElementsAre("no space left on device", "process 0 of the job at " + to_text(rendezvous) + " is gone"));
}

}  // namespace
}  // namespace orrery::executor
