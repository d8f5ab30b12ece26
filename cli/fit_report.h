// SPDX-License-Identifier: Apache-2.0
// What `orrery fit` prints: memory of every pipeline rank by cause, the layer table, the verdict and what would change
// it, and the answers to the questions the other way round.
#pragma once

#include "cli/report.h"
#include "costmodel/memory.h"
#include "program/plan.h"

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace orrery::cli {

/// Model, workload, strategy, memory with its 80 % interval by what `catalog` knows, and verdict of a plan.
/// `ranks`: its memory_per_stage. Requires: the device's memory is known.
Report fit_report(const Plan& plan, const std::vector<costmodel::MemoryByCause>& ranks,
                  const std::filesystem::path& catalog);

/// The changes that make a plan fit that does not. Here and below with intervals of memory for machines.
void add_remedies(Report& report, const Plan& plan, const std::filesystem::path& catalog);

/// The questions that are asked beside "does it fit?".
struct FitQuestions {
  bool fewest_devices = false, longest_sequence = false, largest_micro_batch = false, largest_layers = false;
  std::vector<Model> models;  // which is the largest that fits?

  bool any() const {
    return fewest_devices || longest_sequence || largest_micro_batch || largest_layers || !models.empty();
  }
};

/// One row for each question, and one for each model.
void add_answers(Report& report, const Plan& plan, const FitQuestions& questions, const std::filesystem::path& catalog);

/// "embed+0..3", "4..7", "56..60+mtp+head".
std::string layers_text(const StageLayout& stage);

}  // namespace orrery::cli
