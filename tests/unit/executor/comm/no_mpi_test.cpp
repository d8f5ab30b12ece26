// SPDX-License-Identifier: Apache-2.0
// Linked with no_mpi.cpp, whether this machine has MPI or not.
#include "base/errors.h"
#include "executor/comm/mpi_peers.h"

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

TEST(NoMpi, SaysWhatToInstall) {
  try {
    mpi_peers(0, 2);
    FAIL() << "there is none";
  } catch (const ConfigError& error) {
    EXPECT_STREQ(error.what(),
                 "this build has no MPI\n"
                 "  hint: apt-get install libopenmpi-dev openmpi-bin, then configure and build again; or leave "
                 "--communicator mpi out, and processes talk over TCP");
  }
}

}  // namespace
}  // namespace orrery::executor
