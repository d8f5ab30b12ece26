// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "executor/kernels/matrix.h"

#include <cstdint>
#include <span>
#include <vector>

// Moving rows between token order and expert order, around the two all-to-alls of an expert layer:
//   token rows -> send_slots + scatter_rows -> [all-to-all] -> sort_by_expert -> experts
//   experts -> unsort_by_expert -> [all-to-all] -> combine_rows -> token rows
// An expert's rows arrive in the order (source rank, position at the source), and every token adds its top_k rows in
// the order of its choice; so with tokens split in blocks over ranks each expert sees the same matrix for any number of
// ranks, and the results are equal bit by bit. The backward of scatter_rows is combine_rows, and the other way round.

namespace orrery::executor {

/// Where the row of (token, choice j) lies in a buffer ordered by (expert, token), which is also the order
/// (destination rank, expert, token) when every rank holds consecutive experts. chosen: (tokens, top_k); slots: same
/// shape; counts: rows per expert, overwritten.
void send_slots(std::span<const std::int32_t> chosen, std::span<std::int64_t> counts, std::span<std::int64_t> slots);

/// Which (token, choice) pairs get one of the `capacity` places that each expert has: those with the largest
/// probabilities, of equals the first tokens. Same shape as chosen; 1: kept, 0: dropped.
std::vector<std::uint8_t> kept_pairs(std::span<const std::int32_t> chosen, std::span<const float> probability,
                                     std::int64_t num_experts, std::int64_t capacity);
/// Slots in a buffer with `capacity` rows for each expert, tokens in order; -1 for a pair that is dropped.
void capacity_slots(std::span<const std::int32_t> chosen, std::span<const std::uint8_t> kept, std::int64_t capacity,
                    std::span<std::int64_t> slots);

/// out[slots[t * top_k + j]] = x[t]; rows that no slot names become zero. x: (tokens, width).
void scatter_rows(ConstMatrix x, std::span<const std::int64_t> slots, Matrix out);
/// out[t] = sum over j, ascending, of rows[slots[t * top_k + j]], in f32, rounded once; a slot of -1 adds nothing.
void combine_rows(ConstMatrix rows, std::span<const std::int64_t> slots, Matrix out);

/// out[slots[i]] = values[i]; what no slot names becomes zero.
void scatter_values(std::span<const float> values, std::span<const std::int64_t> slots, std::span<float> out);
/// out[i] = values[slots[i]]; zero for a slot of -1.
void gather_values(std::span<const float> values, std::span<const std::int64_t> slots, std::span<float> out);

/// Turns rows ordered (source rank, local expert, position) into (local expert, source rank, position).
/// counts: rows per (source rank, local expert), row-major.
void sort_by_expert(std::span<const std::int64_t> counts, std::int64_t num_local_experts, ConstMatrix received,
                    Matrix sorted);
/// The inverse of sort_by_expert.
void unsort_by_expert(std::span<const std::int64_t> counts, std::int64_t num_local_experts, ConstMatrix sorted,
                      Matrix received);
/// First row of each local expert after sorting, and the end: offsets has num_local_experts + 1 entries.
void expert_offsets(std::span<const std::int64_t> counts, std::int64_t num_local_experts,
                    std::span<std::int64_t> offsets);

}  // namespace orrery::executor
