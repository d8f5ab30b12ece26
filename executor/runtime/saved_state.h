// SPDX-License-Identifier: Apache-2.0
// What a rank puts into a checkpoint and takes out of one: its share of weights, moments and selection biases, as boxes
// of whole tensors. Every element of the model is saved by one rank, and loaded by all that hold it.
#pragma once

#include "executor/checkpoint/checkpoint.h"
#include "executor/runtime/weights.h"
#include "program/local_parameters.h"

#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace orrery::executor {

/// All weights of a model, whole, selection biases included.
std::vector<Parameter> whole_parameters(const StepProgram& program);
/// Their names and sizes.
std::map<std::string, TensorSize> tensors_of(const StepProgram& program);

/// A copy of what `rank` saves.
std::vector<PieceToWrite> saved_pieces(const StepProgram& program, RankId rank, Weights& weights);

/// Gives the elements of `box` of a weight, row-major; the weight is one that is stored.
using ReadWeight = std::function<void(const Parameter& weight, const Box& box, std::span<float> out)>;
/// Replaces weights, masters and selection biases of `rank` by what `read` gives.
void load_weights(const StepProgram& program, RankId rank, const ReadWeight& read, Weights& weights);

/// Replaces weights and moments of `rank` by those of a checkpoint. Throws: ConfigError.
void load_state(const StepProgram& program, RankId rank, const CheckpointReader& checkpoint, Weights& weights);

}  // namespace orrery::executor
