// SPDX-License-Identifier: Apache-2.0
// Where the weights of a model lie in a Hugging Face checkpoint of its family. We keep queries, keys and values as one
// matrix, gate and up projection as another, and the halves of what RoPE turns apart; families keep them as several
// tensors, of all experts together, transposed, or with rows in another order. All of that is one description: a box of
// our weight is a strided view into a tensor.
#pragma once

#include "program/box.h"
#include "program/model.h"
#include "program/parameters.h"

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace orrery {

namespace hf {
struct TensorNames;
}

/// Sides of a tensor; the last index runs fastest.
using TensorShape = std::vector<std::int64_t>;

/// A part of a weight. Element (row, col) of the weight is element first + (row - box.row) * row_stride + (col -
/// box.col) * col_stride of the tensor.
struct HfPart {
  Box box;
  std::string tensor;
  TensorShape shape;  // of the whole tensor
  std::int64_t first = 0, row_stride = 0, col_stride = 1;
};

class HfTensors {
 public:
  /// `config`: the text of the config.json that `model` was read from; `file`: its name, for messages.
  /// Throws: ConfigError, when there is no table for the family.
  HfTensors(const Model& model, const std::string& config, const std::string& file);

  /// The parts that make up a weight: each element is in one. Requires: a weight of the model.
  std::vector<HfPart> parts(const Parameter& parameter) const;
  /// The tensors of some weights, with their shapes.
  std::map<std::string, TensorShape> tensors(const std::vector<Parameter>& parameters) const;
  /// Whether a tensor holds nothing of its own: it repeats another one, or is computed from the config.json.
  bool is_redundant(std::string_view tensor) const;
  /// Whether a tensor belongs to a prediction module.
  bool is_of_prediction_module(std::string_view tensor) const;

  /// What models of this config.json compute and our kernels do not, in sentences: weights mean something else there.
  const std::vector<std::string>& departures() const { return departures_; }

 private:
  /// Outputs of a weight that lie in `names` one behind the other, `sizes` of them each.
  std::vector<HfPart> stacked(const Parameter& p, const std::vector<std::string>& names,
                              const std::vector<std::int64_t>& sizes) const;
  std::vector<HfPart> gate_and_up(const Parameter& p, const std::string& prefix, std::string_view suffix) const;
  std::vector<HfPart> query_up(const Parameter& p, const std::string& prefix) const;
  std::vector<HfPart> key_value_down(const Parameter& p, const std::string& prefix) const;
  std::vector<HfPart> expert(const Parameter& p, const std::string& block) const;
  std::vector<HfPart> of_all_experts(const Parameter& p, const std::string& block) const;

  Model model_;
  const hf::TensorNames* names_;
  bool rope_pairs_ = false;
  std::vector<std::string> departures_;
};

}  // namespace orrery
