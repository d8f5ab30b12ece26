// SPDX-License-Identifier: Apache-2.0
// A worker and nothing else, for the tests of the interpreter that starts one.
#include "sim/worker.h"

#include <string_view>

int main(int argc, char** argv) {
  if (argc != 2 || std::string_view(argv[1]) != "simulate-worker") return 64;
  return orrery::sim::worker_main(std::cin, std::cout);
}
