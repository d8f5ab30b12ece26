// SPDX-License-Identifier: Apache-2.0
// The main of the tests over MPI:   mpirun -n 4 test_executor_comm_mpi
#include "tests/unit/executor/comm/mpi_backend.h"

#include "executor/comm/mpi_peers.h"
#include "tests/unit/executor/comm/every_backend.h"

#include <mpi.h>

namespace orrery::executor::testing {
namespace {

constexpr std::size_t kMostOfAnError = 2000;

/// What each process has said, in all of them.
std::vector<std::string> gathered(std::string own, int num_ranks) {
  own.resize(kMostOfAnError);
  std::string all(kMostOfAnError * static_cast<std::size_t>(num_processes()), '\0');
  MPI_Allgather(own.data(), kMostOfAnError, MPI_CHAR, all.data(), kMostOfAnError, MPI_CHAR, MPI_COMM_WORLD);
  std::vector<std::string> texts;
  for (std::size_t rank = 0; rank < static_cast<std::size_t>(num_ranks); ++rank)
    texts.emplace_back(all.substr(rank * kMostOfAnError, kMostOfAnError).c_str());
  return texts;
}

}  // namespace

int own_rank() {
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  return rank;
}

int num_processes() {
  int size = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  return size;
}

void meet() { MPI_Barrier(MPI_COMM_WORLD); }

std::vector<Backend> backends() { return {Backend::mpi}; }

std::vector<int> numbers_of_ranks() { return {1, 2, 3, 4}; }

std::vector<std::string> errors_over(Backend /*backend*/, const SegmentOptions& options,
                                     const std::function<void(Endpoint&)>& body) {
  std::string error;
  if (own_rank() < options.num_ranks) {
    const auto segment = Segment::create(options);
    Endpoint endpoint(segment, own_rank(), mpi_peers(own_rank(), options.num_ranks));
    try {
      body(endpoint);
    } catch (const std::exception& caught) {
      error = caught.what();
      segment->fail(own_rank(), error);
    }
  }
  return gathered(error, options.num_ranks);
}

}  // namespace orrery::executor::testing

int main(int argc, char** argv) {
  int level = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &level);
  ::testing::InitGoogleTest(&argc, argv);
  if (orrery::executor::testing::own_rank() != 0) GTEST_FLAG_SET(brief, true);  // only what fails
  const int result = RUN_ALL_TESTS();
  MPI_Finalize();
  return result;
}
