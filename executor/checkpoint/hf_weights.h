// SPDX-License-Identifier: Apache-2.0
// The weights of our model out of a Hugging Face checkpoint, box by box: what a rank holds is read, and nothing else.
#pragma once

#include "executor/checkpoint/hf_folder.h"
#include "program/hf_tensors.h"

#include <set>
#include <span>
#include <string>
#include <vector>

namespace orrery::executor {

class HfWeights {
 public:
  /// Reads config.json and all headers of `folder`. `ignored_keys`: of config.json. Throws: ConfigError, when the model
  /// there would compute something else than `model`, or with what HfFolder and HfTensors throw.
  HfWeights(const Model& model, const std::filesystem::path& folder, const std::set<std::string>& ignored_keys = {});

  /// Throws: ConfigError, naming all tensors that are missing, have another shape, or have no place in `weights`.
  void check(const std::vector<Parameter>& weights) const;

  /// Elements of `box` of a weight, row-major. Throws: ConfigError, when a file has become shorter.
  void read(const Parameter& weight, const Box& box, std::span<float> out) const;

  const HfTensors& tensors() const { return tensors_; }

 private:
  void read_part(const HfPart& part, const Box& shared, const Box& box, std::span<float> out) const;

  HfFolder folder_;
  HfTensors tensors_;
};

}  // namespace orrery::executor
