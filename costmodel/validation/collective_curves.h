// SPDX-License-Identifier: Apache-2.0
// Curves of collectives that others measured: time over size, on a machine that their source names. The file repeats
// what its sources print (docs/formats/collective-curves.md), so columns differ from entry to entry; here they become
// one kind of point. What cannot be read as such is kept by reason and counted, never dropped.
#pragma once

#include "base/json_reader.h"
#include "base/units.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace orrery::costmodel {

struct CurvePoint {
  Bytes size;  // as nccl-tests counts it; of an exchange of tokens the copies that its source counts
  std::int64_t ranks = 2, nodes = 1;
  Seconds time;
};

/// An exchange of tokens among experts (DeepEP). Every rank has `tokens`, each of them for `top_k` of `num_experts`.
struct TokenExchange {
  std::int64_t tokens = 4096, row_bytes = 0, num_experts = 256, top_k = 8;
  std::int64_t top_k_groups = 0;  // of as many groups as there are nodes; 0: no limit
  bool to_experts = true;
};

struct Curve {
  std::size_t entry = 0;                      // of the file, from 0
  std::string op;                             // "all_reduce" | "all_gather" | "reduce_scatter" | "all_to_all"
  std::string gpu, network, library, source;  // as the file spells them; empty: not stated
  std::optional<std::int64_t> devices_per_node;
  std::optional<TokenExchange> tokens;
  std::vector<CurvePoint> points;
};

/// Figures of an entry that are no points of ours.
struct UnreadFigures {
  std::size_t entry = 0;
  std::string op, reason;
  std::size_t num_figures = 0;
};

struct CurvesFile {
  std::vector<Curve> curves;
  std::vector<UnreadFigures> unread;
};

/// Throws: ConfigError with all problems of the file.
CurvesFile read_collective_curves(const JsonDocument& document);

}  // namespace orrery::costmodel
