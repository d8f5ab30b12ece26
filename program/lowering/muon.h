// SPDX-License-Identifier: Apache-2.0
// The matrix products of Muon: five Newton-Schulz iterations on the momentum of each matrix that a rank owns. One of an
// m x n matrix, m <= n, costs two products of 2 m^2 n FLOPs and one of 2 m^3 (Jordan et al., "Muon", 2024). Under TP
// each rank orthogonalises its own block (Megatron-LM, "blockwise"); with sharded states whole matrices are dealt out.
#pragma once

#include "program/flat_buffer.h"
#include "program/lowering/stage_program.h"

#include <vector>

namespace orrery::lowering {

/// Batched products by distinct shape, of the matrices of one buffer; `ranks` share them.
std::vector<OpRule> muon_rules(const ClassContext& context, OpCode op, FlatBufferKind kind, std::int64_t ranks);

}  // namespace orrery::lowering
