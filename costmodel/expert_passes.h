// SPDX-License-Identifier: Apache-2.0
// Passes over the rows of experts that a framework has kernels of their own for, as Megatron-LM does, and that are in
// no op of the program, which counts an activation as one kernel and a bias as nothing, and in which an exchange brings
// rows to where they are multiplied:
//   biases of experts and limits of their activations (KernelParameters::separate_biases), which only GPT-OSS has,
//   sorting what a flat exchange brings by expert, and back (KernelParameters::sorts_arrivals).
// They are added to the ops beside which they run, so that every interpreter, closed form and bound has them.
// docs/design/kernels.md says how their bytes were counted.
#pragma once

#include "base/units.h"
#include "costmodel/kernel_model.h"
#include "program/op.h"
#include "program/op_key.h"
#include "program/work.h"

namespace orrery::costmodel {

/// Bytes that these kernels move beside the op's own.
Bytes expert_traffic(const OpKey& key, const OpShape& shape, const ResolvedLoad& load, const KernelParameters& kernels);

/// How many of them the host launches.
double expert_kernels(const OpKey& key, const OpShape& shape, const KernelParameters& kernels);

}  // namespace orrery::costmodel
