// SPDX-License-Identifier: Apache-2.0
#include "executor/bootstrap/refusal.h"

#include "executor/bootstrap/store_client.h"
#include "executor/comm/host_name.h"

#include <fmt/format.h>

namespace orrery::executor {

void refuse_job(const JobPlace& place, const std::string& token, std::string_view why,
                std::chrono::nanoseconds time_out) {
  StoreClient store(place.rendezvous, token, place.process, place.num_processes, time_out);
  store.set(key_of("refused", place.process), fmt::format("process {} on {}: {}", place.process, own_host_name(), why));
}

}  // namespace orrery::executor
