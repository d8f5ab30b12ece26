// SPDX-License-Identifier: Apache-2.0
// What experts' biases and the limits of their activations cost where a framework has kernels of their own for them, as
// Megatron-LM does (KernelParameters::separate_biases): each pass over the experts' outputs is in no op of the program,
// which counts an activation as one kernel and a bias as nothing. Models without either, all families but GPT-OSS, pay
// nothing. docs/design/kernels.md says how the bytes were counted.
#pragma once

#include "base/units.h"
#include "costmodel/kernel_model.h"
#include "program/op.h"
#include "program/op_key.h"
#include "program/work.h"

namespace orrery::costmodel {

/// Bytes that these kernels move beside the op's own.
Bytes bias_traffic(const OpKey& key, const OpShape& shape, const ResolvedLoad& load, const KernelParameters& kernels);

/// How many of them the host launches.
double bias_kernels(const OpKey& key, const OpShape& shape, const KernelParameters& kernels);

}  // namespace orrery::costmodel
