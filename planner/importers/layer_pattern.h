// SPDX-License-Identifier: Apache-2.0
// Which layers have experts, as --moe-layer-freq of Megatron-LM says it: a number N, every Nth layer from the first, or
// an expression of lists that Python would evaluate, "([0]*3+[1]*58)".
// Source: Megatron-LM 0.20.0, megatron/core/models/gpt/gpt_layer_specs.py.
#pragma once

#include "program/model.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace orrery::planner {

/// One entry per layer, or what is wrong: "expected 8 layers, got 9". Of expressions + and * of lists of 0 and 1 are
/// read, and brackets around them.
std::variant<std::vector<LayerKind>, std::string> read_layer_pattern(std::string_view text, std::int64_t num_layers);

}  // namespace orrery::planner
