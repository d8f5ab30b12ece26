// SPDX-License-Identifier: Apache-2.0
// The sizes of a model that Megatron-LM's arguments state, over those of the model that they are said to train: proxies
// with fewer layers or experts are common. What kind of model it is stays the model's, and so does every size that they
// leave out, whatever the default of Megatron-LM.
#pragma once

#include "planner/importers/argument_list.h"
#include "program/model.h"

#include <cstdint>
#include <string>
#include <vector>

namespace orrery::planner {

/// Changes `model`, with a note for each size that differs. `tp`: of the job, since the vocabulary is padded for it.
void read_megatron_model(ArgumentList& in, std::int64_t tp, Model& model, std::vector<std::string>& notes);

}  // namespace orrery::planner
