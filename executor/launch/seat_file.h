// SPDX-License-Identifier: Apache-2.0
// Where the ranks of other hosts listen and the token of the job, as a launcher hands them to its ranks in a file in
// memory. Private to `launch/`.
#pragma once

#include "executor/comm/tcp_peers.h"

#include <string>

namespace orrery::executor {

/// All but the listener, which is inherited.
std::string to_json(const TcpSeat& seat);

/// Throws: ConfigError.
TcpSeat read_seat(const std::string& path);

}  // namespace orrery::executor
