// SPDX-License-Identifier: Apache-2.0
// Collectives of tensor parallelism. With sequence parallelism a rank has a part of every sequence's tokens outside of
// the products: a gather puts the parts of all ranks together, sequence by sequence, and a scatter leaves each rank the
// sum over its own. Without, partial sums are all-reduced in place.
#pragma once

#include "executor/runtime/op_call.h"

namespace orrery::executor {

/// A gather, a scatter or an all-reduce of rows, as the op's shape says.
void run_tp_rows(OpCall& call);
/// The same behind a row-parallel product: what is left of it is the bias.
void run_tp_out(OpCall& call);
/// The largest logit of each row over the parts of the vocabulary.
void run_tp_loss_max(OpCall& call);

/// Sums a dense matrix over the group, in place.
CommReport all_reduce(Communicator& group, const Matrix& values, std::string_view key);
/// The type in which elements of a matrix are summed.
SumType sum_type_of(const Matrix& values);

}  // namespace orrery::executor
