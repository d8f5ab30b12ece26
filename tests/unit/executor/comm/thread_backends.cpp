// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/executor/comm/every_backend.h"

namespace orrery::executor::testing {

std::vector<Backend> backends() { return {Backend::shm, Backend::tcp, Backend::islands, Backend::unequal}; }

std::vector<int> numbers_of_ranks() { return {1, 2, 3, 4, 5, 7}; }

std::vector<std::string> errors_over(Backend backend, const SegmentOptions& options,
                                     const std::function<void(Endpoint&)>& body) {
  return errors_of_ranks(backend, options, body);
}

}  // namespace orrery::executor::testing
