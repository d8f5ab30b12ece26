// SPDX-License-Identifier: Apache-2.0
#include "executor/bootstrap/job_place.h"

#include "base/errors.h"

#include <map>

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using Made = std::map<std::string, std::string, std::less<>>;

Variables variables_of(const Made& made) {
  return [made](std::string_view name) -> std::optional<std::string> {
    const auto found = made.find(name);
    if (found == made.end() || found->second.empty()) return std::nullopt;
    return found->second;
  };
}

std::string error_of(const Made& made) {
  try {
    job_place_of(variables_of(made));
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

const Made kTorchrun = {{"RANK", "5"},
                        {"WORLD_SIZE", "8"},
                        {"LOCAL_RANK", "1"},
                        {"LOCAL_WORLD_SIZE", "4"},
                        {"MASTER_ADDR", "10.0.0.7"},
                        {"MASTER_PORT", "29500"}};
const Made kMpirun = {{"OMPI_COMM_WORLD_RANK", "3"},
                      {"OMPI_COMM_WORLD_SIZE", "4"},
                      {"OMPI_COMM_WORLD_LOCAL_RANK", "3"},
                      {"OMPI_COMM_WORLD_LOCAL_SIZE", "4"},
                      {"PMIX_NAMESPACE", "1234"}};
const Made kSrun = {
    {"SLURM_STEP_ID", "0"},           {"SLURM_PROCID", "2"}, {"SLURM_NTASKS", "3"}, {"SLURM_LOCALID", "0"},
    {"SLURM_NODELIST", "gpu[07-09]"}, {"SLURM_JOB_ID", "77"}};
const Made kPmi = {{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}, {"MPI_LOCALRANKID", "1"}, {"MPI_LOCALNRANKS", "2"}};

Made with(Made made, const Made& changes) {
  for (const auto& [name, value] : changes) made[name] = value;
  return made;
}

TEST(JobPlace, OfAProcessThatNobodyStartedAsOneOfSeveralIsNone) {
  EXPECT_FALSE(job_place_of(variables_of({})).has_value());
  EXPECT_FALSE(job_place_of(variables_of({{"MASTER_ADDR", "10.0.0.7"}, {"LOCAL_RANK", "0"}})).has_value());
  EXPECT_FALSE(job_place_of(variables_of({{"RANK", "0"}, {"WORLD_SIZE", "1"}})).has_value()) << "a world of one";
  // A batch script of Slurm has these before it has started any task.
  EXPECT_FALSE(job_place_of(variables_of(with(kSrun, {{"SLURM_STEP_ID", ""}}))).has_value());
}

TEST(JobPlace, IsReadInTheWordsOfWhoeverStartedTheProcess) {
  struct Case {
    Made variables;
    int process, num_processes;
    std::string host, source;
  };
  const Case cases[] = {{kTorchrun, 5, 8, "10.0.0.7", "torchrun"},
                        {kMpirun, 3, 4, "127.0.0.1", "mpirun"},
                        {kSrun, 2, 3, "gpu07", "srun"},
                        {kPmi, 1, 2, "127.0.0.1", "PMI"}};
  for (const Case& expected : cases) {
    const auto place = job_place_of(variables_of(expected.variables));
    ASSERT_TRUE(place.has_value()) << expected.source;
    EXPECT_EQ(place->process, expected.process);
    EXPECT_EQ(place->num_processes, expected.num_processes);
    EXPECT_EQ(place->rendezvous.host, expected.host);
    EXPECT_EQ(place->source, expected.source);
  }
}

TEST(JobPlace, ThePortIsTheOneThatIsSaidOrThatOfTheJob) {
  const auto port = [](const Made& made) { return job_place_of(variables_of(made))->rendezvous.port; };
  EXPECT_EQ(port(kTorchrun), 29500);
  EXPECT_EQ(port(with(kTorchrun, {{"TORCHELASTIC_USE_AGENT_STORE", "True"}})), 29501) << "torchrun listens at 29500";
  EXPECT_EQ(port(kSrun), port(with(kSrun, {{"SLURM_PROCID", "0"}}))) << "all processes of a job";
  EXPECT_NE(port(kSrun), port(with(kSrun, {{"SLURM_JOB_ID", "78"}}))) << "and no other job";
  EXPECT_EQ(port(with(kSrun, {{"MASTER_PORT", "4000"}})), 4000);
}

TEST(JobPlace, TheUserKnowsBetterWhereProcess0Waits) {
  const auto place = job_place_of(variables_of(kSrun), HostPort{"login", 5000});
  EXPECT_EQ(to_text(place->rendezvous), "login:5000");
  EXPECT_EQ(place->process, 2);
  EXPECT_EQ(
      to_text(job_place_of(variables_of(with(kMpirun, {{"MASTER_ADDR", "head"}, {"MASTER_PORT", "1"}})))->rendezvous),
      "head:1");
}

TEST(JobPlace, OfNestedEnvironmentsTheInnerOneCounts) {
  Made nested = kTorchrun;
  nested.insert(kSrun.begin(), kSrun.end());
  EXPECT_EQ(job_place_of(variables_of(nested))->source, "torchrun");
}

TEST(JobPlace, WhereProcess0IsSlurmSaysForThePmiThatItsOwnStepBrings) {
  // srun --mpi=pmi2 -N 3: PMI numbers the processes, and only Slurm knows hosts.
  const Made pmi2 = with(kSrun, {{"PMI_RANK", "2"}, {"PMI_SIZE", "3"}, {"PMI_FD", "11"}, {"PMI_JOBID", "77.0"}});
  const auto place = job_place_of(variables_of(pmi2));
  ASSERT_TRUE(place.has_value());
  EXPECT_EQ(place->source, "PMI");
  EXPECT_EQ(place->process, 2);
  EXPECT_EQ(place->num_processes, 3);
  EXPECT_EQ(to_text(place->rendezvous), to_text(job_place_of(variables_of(kSrun))->rendezvous));
  // mpirun of MPICH in a step that started its daemons: another process of another number.
  EXPECT_EQ(error_of(with(pmi2, {{"PMI_RANK", "1"}, {"PMI_SIZE", "6"}})),
            "PMI: expected an address where process 0 waits for the others\n  hint: --rendezvous HOST:PORT, or "
            "MASTER_ADDR and MASTER_PORT");
}

TEST(JobPlace, AStepOfSlurmOnSomeHostsOfAnAllocationMeetsOnItsOwnFirst) {
  const Made step = with(kSrun, {{"SLURM_STEP_NODELIST", "gpu[08-09]"}});
  EXPECT_EQ(job_place_of(variables_of(step))->rendezvous.host, "gpu08");
}

TEST(JobPlace, NamesWhatIsMissingOrContradictsItself) {
  EXPECT_EQ(error_of({{"RANK", "0"}}), "RANK is set, but WORLD_SIZE is not\n  hint: --nodes 1 runs on this host alone");
  EXPECT_EQ(error_of({{"PMI_SIZE", "2"}}),
            "PMI_SIZE is set, but PMI_RANK is not\n  hint: --nodes 1 runs on this host alone");
  EXPECT_EQ(error_of(with(kTorchrun, {{"RANK", "8"}})),
            "RANK: expected less than the 8 processes of WORLD_SIZE, got 8\n  hint: WORLD_SIZE counts processes, not "
            "hosts");
  EXPECT_EQ(error_of(with(kTorchrun, {{"RANK", "-1"}})), "RANK: expected a number, got '-1'");
  EXPECT_EQ(error_of(with(kTorchrun, {{"MASTER_PORT", "http"}})), "MASTER_PORT: expected a number, got 'http'");
  EXPECT_EQ(error_of(with(kTorchrun, kMpirun)),
            "torchrun says process 5 of 8, mpirun says process 3 of 4\n  hint: --nodes, --node-rank and --rendezvous "
            "say which");
  EXPECT_EQ(error_of(with(kMpirun, {{"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}})),
            "mpirun: expected an address where process 0 waits for the others\n  hint: --rendezvous HOST:PORT, or "
            "MASTER_ADDR and MASTER_PORT");
}

TEST(JobPlace, TheFirstHostOfAListOfSlurm) {
  EXPECT_EQ(first_host("node"), "node");
  EXPECT_EQ(first_host("a,b"), "a");
  EXPECT_EQ(first_host("gpu[03-05,9],login"), "gpu03");
  EXPECT_EQ(first_host("gpu[7]"), "gpu7");
  EXPECT_EQ(first_host("rack[1-2]n[04,5].cluster,x"), "rack1n04.cluster");
  EXPECT_EQ(first_host(""), "");
}

}  // namespace
}  // namespace orrery::executor
