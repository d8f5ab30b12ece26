// SPDX-License-Identifier: Apache-2.0
// Copies of offloaded activations: device and host have one queue between them, which stores behind each layer of a
// forward and loads before each layer of a backward.
#pragma once

#include "base/units.h"
#include "costmodel/activation_memory.h"
#include "costmodel/closed_timer.h"

#include <vector>

namespace orrery::costmodel {

/// What the queue of a rank is busy with for one micro-batch on each of `stages`. A layer's copies count as one.
Seconds offload_time(const std::vector<StageLayout>& stages, ActivationPeaks& activations, ClosedTimer& timer);

}  // namespace orrery::costmodel
