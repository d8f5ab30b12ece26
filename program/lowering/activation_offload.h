// SPDX-License-Identifier: Apache-2.0
// Offload of activations: what a layer saves for its backward is copied to the host behind its forward and comes back
// before its backward, one layer ahead. Recomputation goes first: what is dropped is not copied.
#pragma once

#include "program/lowering/slot_stream.h"

#include <deque>

namespace orrery::lowering {

class ActivationOffload {
 public:
  /// `forward` and `backward` of one stage say what is saved.
  ActivationOffload(const RuleContext& context, const Stream& forward, const Stream& backward);
  ActivationOffload(const ActivationOffload&) = delete;
  ActivationOffload& operator=(const ActivationOffload&) = delete;

  /// Adds the copies to a stream of such slots. Rules that it adds live as long as this object.
  void apply(Slot::Kind kind, Stream& stream) const;

 private:
  /// Copies of one layer, one for each kind of rows among what it saves.
  struct Layer {
    ClassBuilder::Position at;
    std::vector<const OpRule*> store, load;
  };
  const Layer* layer_at(const ClassBuilder::Position& at) const;

  const RuleContext& c_;
  std::deque<OpRule> rules_;
  std::vector<Layer> layers_;
};

}  // namespace orrery::lowering
