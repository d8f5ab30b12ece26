// SPDX-License-Identifier: Apache-2.0
// Time that a host needs to enqueue a step. It runs ahead of its device and costs nothing as long as the device has
// work; where kernels are short the device waits for it. A step takes the longer of the two, window by window: a window
// is what a rank does for one micro-batch on one stage in one direction, since a message of the pipeline or the end of
// the step brings host and device together. Counts and evidence: docs/design/kernels.md.
#pragma once

#include "base/units.h"
#include "costmodel/kernel_model.h"
#include "program/step_program.h"

#include <span>
#include <vector>

namespace orrery::costmodel {

/// Kernels that an eager framework enqueues for an op, small ones around it included; `kernels` says which it calls.
double num_kernels(const OpKey& key, const OpShape& shape, const KernelParameters& kernels);

/// Share of its host time that a strategy leaves of a step: CUDA graphs replay most of it.
double host_share(const Strategy& strategy);

/// Whether arithmetic of a layer waits for what travels on the queue.
bool is_of_layer(Queue queue);

/// Lengthens compute ops by what their window's host time is above its device time; each by its share of the kernels.
/// `host`: of each op. `alone`: of communications of a layer, which arithmetic waits for. Reductions, messages and
/// copies are few and count in no window. The end of the step is none: its few kernels are large.
void wait_for_host(std::span<const Op> ops, std::span<const Seconds> host, std::span<const Seconds> alone,
                   std::vector<Seconds>& compute_time);

}  // namespace orrery::costmodel
