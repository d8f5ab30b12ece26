// SPDX-License-Identifier: Apache-2.0
// The workers and nothing else, for the tests of those that start them.
#include "sim/platform_worker.h"
#include "sim/worker.h"

#include <string_view>

int main(int argc, char** argv) {
  const std::string_view verb = argc == 2 ? argv[1] : "";
  if (verb == "simulate-worker") return orrery::sim::worker_main(std::cin, std::cout);
  if (verb == "platform-worker") return orrery::sim::platform_main(std::cin, std::cout);
  return 64;
}
