// SPDX-License-Identifier: Apache-2.0
// Stands in for mpi_peers.cpp and what it needs where no MPI was found.
#include "base/errors.h"
#include "executor/comm/mpi_peers.h"

namespace orrery::executor {

std::unique_ptr<Peers> mpi_peers(int /*rank*/, int /*num_ranks*/) {
  throw ConfigError("this build has no MPI",
                    "apt-get install libopenmpi-dev openmpi-bin, then configure and build again; or leave "
                    "--communicator mpi out, and processes talk over TCP");
}

}  // namespace orrery::executor
