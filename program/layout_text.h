// SPDX-License-Identifier: Apache-2.0
// Stage layouts as Megatron-LM writes them for --pipeline-model-parallel-layout: "Et*3|(tt|)*29m|L" is DeepSeek-V3 on
// 32 virtual stages. E is the embedding, t a layer, m a prediction module, L the head with the loss; | ends a stage,
// x*n repeats a symbol, (..)*n a group of symbols; commas between items say nothing. The text holds which stage has
// what, and nothing of recomputation.
// Source of the grammar: Megatron-LM, core/transformer/pipeline_parallel_layer_layout.py. Ours is stricter: counts
// start at 1, and what Megatron would expand to something surprising ("t*2*3", a group inside a group) is refused.
#pragma once

#include "program/strategy.h"

#include <cstddef>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace orrery {

/// What is wrong with a layout, and where.
struct LayoutTextProblem {
  std::size_t position = 0;  // of the character, from 1; one behind the last where the text ends too early
  std::string message;       // "expected E, t, m, L, | or a group, got \"x\""
};

/// The stages of `text`, in pipeline order. E stands first and L last, each once, and no t behind an m; a stage may
/// be empty, which is for the rules of legality to judge. Throws nothing.
std::variant<std::vector<StageLayout>, LayoutTextProblem> parse_layout(std::string_view text);

/// The stages as text: the shortest one whose groups are whole stages. Equal layouts give equal texts, and
/// parse_layout gives the stages back, without recomputation.
/// Requires: embedding first, head last, layers in order, as legality demands.
std::string layout_text(const std::vector<StageLayout>& stages);

}  // namespace orrery
