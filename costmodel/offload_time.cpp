// SPDX-License-Identifier: Apache-2.0
#include "costmodel/offload_time.h"

#include <cstdint>

namespace orrery::costmodel {

Seconds offload_time(const std::vector<StageLayout>& stages, ActivationPeaks& activations, ClosedTimer& timer) {
  Seconds time;
  for (const StageLayout& stage : stages) {
    for (const OffloadedLayers& layers : activations.offloaded(stage)) {
      const auto bytes = static_cast<std::int64_t>(layers.bytes);
      if (bytes > 0) time += static_cast<double>(layers.count) * (timer.copy(bytes, true) + timer.copy(bytes, false));
    }
  }
  return time;
}

}  // namespace orrery::costmodel
