// SPDX-License-Identifier: Apache-2.0
// Copies between a device and its host. A CPU rank is its own host: what is stored leaves the arena for memory outside
// of it, as it would leave a device.
#include "base/check.h"
#include "executor/runtime/run_step_end.h"

#include <algorithm>

namespace orrery::executor {
namespace {

using R = TensorRole;

std::span<float> states_on_device(OpCall& call, FlatBufferKind kind) {
  const std::size_t dense = call.rank.weights.dense().states().size();
  const std::span<float> all = call.elements<float>(R::optimizer_states);
  CHECK(all.size() == dense + call.rank.weights.expert().states().size(), call.key, all.size(), dense);
  return kind == FlatBufferKind::dense ? all.first(dense) : all.subspan(dense);
}

}  // namespace

void run_load_states(OpCall& call) {
  call.rank.device_states = call.index(R::optimizer_states);
  for (const FlatBufferKind kind : {FlatBufferKind::dense, FlatBufferKind::expert}) {
    const std::span<float> host = call.rank.weights.state(kind).states();
    std::copy(host.begin(), host.end(), states_on_device(call, kind).begin());
  }
}

void run_store_states(OpCall& call) {
  call.rank.device_states.reset();
  for (const FlatBufferKind kind : {FlatBufferKind::dense, FlatBufferKind::expert}) {
    const std::span<float> device = states_on_device(call, kind);
    std::copy(device.begin(), device.end(), call.rank.weights.state(kind).states().begin());
  }
}

void run_store_activations(OpCall& call) {
  for (const TensorUse& use : call.uses) {
    const Tensor& tensor = call.rank.rank_class.tensors[use.tensor()];
    const std::span<std::byte> content = call.rank.tensors.elements<std::byte>(use.tensor());
    call.rank.host[{tensor.role, tensor.layer, tensor.micro_batch}].assign(content.begin(), content.end());
  }
}

void run_load_activations(OpCall& call) {
  for (const TensorUse& use : call.uses) {
    const Tensor& tensor = call.rank.rank_class.tensors[use.tensor()];
    const auto stored = call.rank.host.extract({tensor.role, tensor.layer, tensor.micro_batch});
    CHECK(!stored.empty(), call.key, name_of(tensor.role));
    const std::span<std::byte> content = call.rank.tensors.elements<std::byte>(use.tensor());
    CHECK(stored.mapped().size() == content.size(), call.key, name_of(tensor.role), stored.mapped().size(),
          content.size());
    std::copy(stored.mapped().begin(), stored.mapped().end(), content.begin());
  }
}

}  // namespace orrery::executor
