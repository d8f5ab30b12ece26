// SPDX-License-Identifier: Apache-2.0
// What every back end has to do is tested with each of them: with ranks as threads over memory and TCP
// (thread_backends.cpp), and in an executable of its own, which mpirun starts, with ranks as processes over MPI
// (mpi_backend.cpp). So what a test expects stands in the body of its ranks, and they share nothing but what they send.
#pragma once

#include "tests/unit/executor/comm/thread_ranks.h"

#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace orrery::executor::testing {

/// Those that this executable can have.
std::vector<Backend> backends();

/// How many ranks the collectives are tried with.
std::vector<int> numbers_of_ranks();

/// Runs `body` on each rank and returns what each died of; empty for those that did not. A process that is one of the
/// ranks runs it on that one.
std::vector<std::string> errors_over(Backend backend, const SegmentOptions& options,
                                     const std::function<void(Endpoint&)>& body);

/// The same, when no rank may fail.
inline void run_over(Backend backend, const SegmentOptions& options, const std::function<void(Endpoint&)>& body) {
  for (const std::string& error : errors_over(backend, options, body)) {
    if (!error.empty()) throw std::runtime_error(error);
  }
}

class OfEveryBackend : public ::testing::TestWithParam<Backend> {
 protected:
  void run_ranks(const SegmentOptions& options, const std::function<void(Endpoint&)>& body) const {
    run_over(GetParam(), options, body);
  }
  std::vector<std::string> errors_of_ranks(const SegmentOptions& options,
                                           const std::function<void(Endpoint&)>& body) const {
    return errors_over(GetParam(), options, body);
  }
};

}  // namespace orrery::executor::testing

/// In namespace orrery::executor.
#define ORRERY_INSTANTIATE_BACKENDS(suite)                                            \
  INSTANTIATE_TEST_SUITE_P(Backends, suite, ::testing::ValuesIn(testing::backends()), \
                           [](const auto& backend) { return testing::name_of(backend.param); })
