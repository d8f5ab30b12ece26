// SPDX-License-Identifier: Apache-2.0
// A lowered program as text: what a rank does in one pass of one layer, and what an op reads, creates and modifies.
#pragma once

#include "program/legality.h"
#include "program/lower.h"
#include "tests/unit/program/small_models.h"

#include <cstdint>
#include <string>
#include <variant>

#include <gtest/gtest.h>

namespace orrery::testing {

class Lowered {
 public:
  Lowered(const Model& model, const Strategy& strategy, std::int64_t num_devices = 1,
          const BatchShape& batch = {.seq = 32, .global_batch = 16})
      : program(checked(model, strategy, batch, num_devices)) {}

  StepProgram program;
  std::size_t rank = 0;  // pipeline rank that is looked at

  const RankClass& ops() const { return program.classes.at(rank); }
  const OpKey& key(OpIndex op) const { return ops().ops.at(op).key; }

  /// The op's name with its bucket: "cp.kv.b0".
  std::string name(OpIndex op) const {
    const std::string bucket = key(op).bucket < 0 ? "" : ".b" + std::to_string(key(op).bucket);
    return std::string(name_of(key(op).op)) + bucket;
  }

  /// Names of the ops of micro-batch 0 in `layer` in one pass, in the order of the program, with spaces between.
  std::string of_layer(std::int64_t layer, Pass pass) const {
    return names([&](const OpKey& key) { return key.micro_batch == 0 && key.layer == layer && key.pass == pass; });
  }
  /// The same of everything behind the micro-batches.
  std::string of_step() const {
    return names([](const OpKey& key) { return key.micro_batch < 0; });
  }
  /// Names of all ops whose key `matches`.
  template <class Matches>
  std::string names(Matches matches) const {
    std::string out;
    for (OpIndex op = 0; op < ops().ops.size(); ++op) {
      if (matches(key(op))) out += (out.empty() ? "" : " ") + name(op);
    }
    return out;
  }

  /// The backward of `layer` in micro-batch 0: weight gradients with "dw:" before them, recomputation with "again:".
  std::string backward(std::int64_t layer) const {
    std::string out;
    for (OpIndex op = 0; op < ops().ops.size(); ++op) {
      if (key(op).micro_batch != 0 || key(op).layer != layer || key(op).pass == Pass::fwd) continue;
      const std::string pass = key(op).pass == Pass::wgrad ? "dw:" : key(op).pass == Pass::rec ? "again:" : "";
      out += (out.empty() ? "" : " ") + pass + name(op);
    }
    return out;
  }

  /// The first op of that name and pass; with `layer` and `micro_batch`, of those.
  OpIndex find(const std::string& op_name, Pass pass, std::int64_t layer = kAny,
               std::int64_t micro_batch = kAny) const {
    for (OpIndex op = 0; op < ops().ops.size(); ++op) {
      if (name(op) != op_name || key(op).pass != pass) continue;
      if (layer != kAny && key(op).layer != layer) continue;
      if (micro_batch == kAny || key(op).micro_batch == micro_batch) return op;
    }
    ADD_FAILURE() << "no op " << op_name;
    return 0;
  }

  bool has(const std::string& op_name) const {
    for (OpIndex op = 0; op < ops().ops.size(); ++op) {
      if (name(op) == op_name) return true;
    }
    return false;
  }

  template <class Shape>
  Shape shape(OpIndex op) const {
    return std::get<Shape>(program.shapes.at(ops().ops.at(op).shape));
  }
  template <class Shape>
  Shape shape(const std::string& op_name, Pass pass, std::int64_t layer = kAny) const {
    return shape<Shape>(find(op_name, pass, layer));
  }
  CollectiveShape collective(const std::string& op_name, Pass pass, std::int64_t layer = kAny) const {
    return shape<CollectiveShape>(op_name, pass, layer);
  }

  /// Tensors of an op: "norm1 +norm1_full ~d_x!", + created, ~ modified, ! released.
  std::string uses(OpIndex op) const {
    std::string out;
    for (const TensorUse& use : ops().uses_of(op)) {
      out += out.empty() ? "" : " ";
      if (use.access() != Access::read) out += use.access() == Access::create ? "+" : "~";
      out += name_of(ops().tensors[use.tensor()].role);
      if (use.releases()) out += "!";
    }
    return out;
  }
  std::string uses(const std::string& op_name, Pass pass, std::int64_t layer = kAny) const {
    return uses(find(op_name, pass, layer));
  }

  /// The first tensor of that role, in `layer` if one is given.
  Tensor tensor(TensorRole role, std::int64_t layer = kAny) const {
    for (const Tensor& tensor : ops().tensors) {
      if (tensor.role == role && (layer == kAny || tensor.layer == layer)) return tensor;
    }
    ADD_FAILURE() << "no tensor " << name_of(role);
    return {};
  }

  bool waits_for(OpIndex op, OpIndex on) const {
    for (const OpIndex dep : ops().deps_of(op)) {
      if (dep == on) return true;
    }
    return false;
  }

  static constexpr std::int64_t kAny = -100;

 private:
  static StepProgram checked(const Model& model, const Strategy& strategy, const BatchShape& batch,
                             std::int64_t num_devices) {
    for (const Violation& violation : violations(model, strategy, batch, num_devices))
      ADD_FAILURE() << violation.key << ": " << violation.expected;
    return lower(model, strategy, batch, num_devices);
  }
};

/// A model of one dense layer: attention with 4 heads of 16, of which 2 of keys and values; FFN of width 128.
inline Model one_dense_layer() {
  Model model = small_moe(1);
  model.moe.reset();
  return model;
}

/// For example "all_gather 4096".
inline std::string text_of(const CollectiveShape& shape) {
  return std::string(name_of(shape.kind)) + " " + std::to_string(shape.bytes);
}

}  // namespace orrery::testing
