// SPDX-License-Identifier: Apache-2.0
// The architecture of a published run as a Model. What runs/1 does not state and shapes do not depend on (epsilon,
// rope) keeps its default; what we cannot describe is refused by name, and what is described more simply than it may
// be, such as a feed-forward without biases, is said.
#pragma once

#include "costmodel/validation/runs.h"
#include "program/model.h"

#include <string>
#include <variant>
#include <vector>

namespace orrery::costmodel {

/// Why a run cannot be modelled, in words that group equal reasons: "model: activation gelu".
struct NotModelled {
  std::string reason;
  bool operator==(const NotModelled&) const = default;
};

struct DescribedModel {
  Model model;
  std::vector<std::string> assumptions;  // "gelu: no biases in the feed-forward"
};

/// `name` becomes the model's.
std::variant<DescribedModel, NotModelled> described_model(const std::string& name, const RunModel& in);

}  // namespace orrery::costmodel
