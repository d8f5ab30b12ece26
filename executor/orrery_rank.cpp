// SPDX-License-Identifier: Apache-2.0
// The process of one CPU rank. Nobody starts it by hand: `launch` does, and passes its seat in the environment.
#include "base/errors.h"
#include "executor/calibration/calibration_task.h"
#include "executor/comm/mpi_peers.h"
#include "executor/launch/rank_main.h"
#include "executor/runtime/execution.h"

#include <string_view>

int main(int argc, char** argv) {
  using namespace orrery;
  using namespace orrery::executor;
  const std::string_view verb = argc == 3 ? argv[1] : "";
  const auto body = [&](RankProcess& process) {
    if (verb == "execute") {
      execute_rank(process, read_execution_request(argv[2]));
    } else if (verb == "calibrate") {
      calibrate_rank(process, read_calibration_task(argv[2]));
    } else {
      throw ConfigError("orrery-rank: expected `execute REQUEST` or `calibrate TASK`",
                        "it is started by `orrery execute` and `orrery calibrate`");
    }
  };
  return run_rank(body, mpi_peers);
}
