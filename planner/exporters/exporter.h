// SPDX-License-Identifier: Apache-2.0
// Plans in the words of those who train: one file for each trainer, behind one function. A trainer that cannot do what
// a plan says is never handed something near it in silence. Each field of a strategy is
//     written,
//     listed: the trainer computes the same on the same ranks, but when something runs or travels is another matter, or
//             is set in the user's code, or
//     refused: a rank would hold or compute something else.
// A new target is one file here, its line in exporter.cpp and in CMakeLists.txt, and a test. What each writes, and why:
// docs/design/planner-export.md.
#pragma once

#include "program/plan.h"

#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace orrery::planner {

/// What becomes of one key of strategy/1, or of "placement".
struct ExportNote {
  std::string key;   // "overlap/tp"
  std::string text;  // a sentence
  /// Of what is refused: conditions of a search (conditions.h) whose plans the trainer runs, as far as this key goes;
  /// none: no condition says it.
  std::vector<std::string> conditions = {};
  bool operator==(const ExportNote&) const = default;
};

struct Export {
  std::string text;  // in the language of the target; empty if anything is refused
  std::vector<ExportNote> listed, refused;

  void list(std::string key, std::string why) { listed.push_back({std::move(key), std::move(why)}); }
  void refuse(std::string key, std::string why, std::vector<std::string> conditions = {}) {
    refused.push_back({std::move(key), std::move(why), std::move(conditions)});
  }
};

/// A trainer, in one version.
struct Exporter {
  std::string_view target;   // "megatron"
  std::string_view trainer;  // "Megatron-LM 0.20.0"
  std::string_view form;     // "command line arguments"
  /// Requires: a plan whose strategy is legal on its ranks.
  Export (*write)(const Plan& plan);
};

/// All of them, in the order of the documentation.
std::span<const Exporter> exporters();

/// Null: there is none of that name.
const Exporter* find_exporter(std::string_view target);

// What several targets ask of a plan.

std::int64_t num_micro_batches(const Plan& plan);

/// The modules that every stage with a layer recomputes, in all of its layers; nothing if stages differ.
std::optional<std::set<RecomputeModule>> uniform_recompute(const Strategy& strategy);

/// Whether every stage recomputes whole layers, the same number of its first ones; a stage that has fewer, all of
/// them. Nothing if not.
std::optional<std::int64_t> uniform_full_layers(const Strategy& strategy);

/// Whether every layer is recomputed as a whole.
bool recomputes_fully(const Strategy& strategy);

/// The condition under which every stage recomputes all that some stage of the strategy does.
std::string same_recompute_condition(const Strategy& strategy);

/// The condition under which ranks are laid in the default order.
std::string default_order_condition();

/// Whether states are shared the same way by dense parameters and by experts. True without experts, and where one of
/// the two has nobody to share with.
bool same_sharding(const Plan& plan);

/// The ZeRO stage that is written where a trainer has one for both kinds of parameters: the larger.
int zero_of(const Plan& plan);

/// For such a trainer: refuses states that are not shared alike, and lists the stage that is written as the other.
void check_same_sharding(const Plan& plan, Export& out);

/// Lists a recipe of fp8 in a plan that has nothing in it.
void list_unused_fp8_recipe(const Plan& plan, Export& out);

/// Lists what no trainer reads: which device each rank is on, unless rank r is on device r.
void list_placement(const Plan& plan, Export& out);

/// Whether a value has signs that say something to a shell, or in an override.
bool needs_quotes(std::string_view value);

/// `listed` as a block of comments, each line behind `prefix`; empty if nothing is.
std::string comments(const Export& out, std::string_view prefix);

}  // namespace orrery::planner
