// SPDX-License-Identifier: Apache-2.0
#include "executor/runtime/weights.h"

#include "base/check.h"
#include "executor/kernels/elementwise.h"
#include "executor/kernels/initialize.h"

#include <algorithm>

namespace orrery::executor {
namespace {

bool is_norm(WeightRole role) {
  switch (role) {
    case WeightRole::attn_norm:
    case WeightRole::q_norm:
    case WeightRole::k_norm:
    case WeightRole::q_latent_norm:
    case WeightRole::kv_latent_norm:
    case WeightRole::mlp_norm:
    case WeightRole::moe_norm:
    case WeightRole::mtp_embedding_norm:
    case WeightRole::mtp_hidden_norm:
    case WeightRole::mtp_final_norm:
    case WeightRole::final_norm:
      return true;
    case WeightRole::embedding:
    case WeightRole::positions:
    case WeightRole::mtp_projection:
    case WeightRole::sinks:
    case WeightRole::attn_out_bias:
    case WeightRole::mlp_fc1_bias:
    case WeightRole::mlp_fc2_bias:
    case WeightRole::router_linear_bias:
    case WeightRole::expert_fc1_bias:
    case WeightRole::expert_fc2_bias:
    case WeightRole::qkv:
    case WeightRole::qkv_bias:
    case WeightRole::q_down:
    case WeightRole::q_up:
    case WeightRole::kv_down:
    case WeightRole::kv_up:
    case WeightRole::attn_out:
    case WeightRole::mlp_fc1:
    case WeightRole::mlp_fc2:
    case WeightRole::router:
    case WeightRole::router_bias:
    case WeightRole::expert_fc1:
    case WeightRole::expert_fc2:
    case WeightRole::shared_fc1:
    case WeightRole::shared_fc2:
    case WeightRole::shared_gate:
    case WeightRole::head:
      return false;
  }
  CHECK(false, static_cast<int>(role));
}

/// First values of what of a weight is on this rank: those that the whole weight has there on every layout.
std::vector<float> first_values(const LocalParameter& p, bool tied, const TrainingSettings& settings) {
  std::vector<float> values(static_cast<std::size_t>(p.size()));
  if (is_norm(p.whole.role)) {
    std::fill(values.begin(), values.end(), 1.0F);
    return values;
  }
  const std::string name = stored_name(p.whole, tied);
  float* next = values.data();
  for (const Box& box : p.boxes) {
    const std::int64_t rows = box.cols == p.whole.cols ? box.rows : 1;  // that lie side by side in the whole weight
    for (std::int64_t row = box.row; row < box.row + box.rows; row += rows, next += rows * box.cols) {
      initialize_normal(settings.seed, name, row * p.whole.cols + box.col, settings.init_deviation,
                        matrix_of(next, rows, box.cols));
    }
  }
  return values;
}

}  // namespace

UnitId unit_of(const OpKey& key) {
  const bool of_head = (key.op >= OpCode::head_norm && key.op <= OpCode::head_loss) || key.op == OpCode::tp_head_in ||
                       key.op == OpCode::head_max;
  return {.layer = key.layer, .mtp_head = of_head && key.layer >= 0, .micro_batch = key.micro_batch};
}

Weights::Weights(const StepProgram& program, RankId rank, const TrainingSettings& settings)
    : num_layers_(program.model.num_layers()), tied_(program.model.tied_embeddings) {
  std::array<std::vector<LocalParameter>, 2> by_kind;
  for (const LocalParameter& p : local_parameters(program, rank)) {
    if (p.whole.buffer) {
      router_biases_[p.whole.layer].assign(static_cast<std::size_t>(p.size()), 0.0F);
      continue;
    }
    const FlatBufferKind kind = p.whole.is_expert() ? FlatBufferKind::expert : FlatBufferKind::dense;
    std::vector<LocalParameter>& all = by_kind[static_cast<std::size_t>(kind)];
    const auto [found, is_first] = places_.try_emplace({p.whole.role, p.whole.layer},
                                                       Place{kind, static_cast<std::int64_t>(all.size()), 0, p.cols});
    found->second.rows += p.rows;
    all.push_back(p);
  }
  for (const FlatBufferKind kind : {FlatBufferKind::dense, FlatBufferKind::expert}) {
    FlatState& state = states_.emplace_back(program, rank, kind, std::move(by_kind[static_cast<std::size_t>(kind)]));
    for (std::size_t i = 0; i < state.parameters().size(); ++i) {
      const std::vector<float> values = first_values(state.parameters()[i], tied_, settings);
      state.start(static_cast<std::int64_t>(i), matrix_of(values.data(), 1, static_cast<std::int64_t>(values.size())));
    }
  }
}

const Weights::Place& Weights::place(WeightRole role, std::int64_t layer) const {
  auto found = places_.find({role, layer});
  if (found == places_.end() && role == WeightRole::head) found = places_.find({WeightRole::embedding, layer});  // tied
  CHECK(found != places_.end(), static_cast<int>(role), layer);
  return found->second;
}

std::vector<std::int64_t> Weights::parameters_of(FlatBufferKind kind, const UnitId& unit) const {
  const std::span<const LocalParameter> all = states_[static_cast<std::size_t>(kind)].parameters();
  std::vector<std::int64_t> found;
  const auto add = [&](auto&& belongs) {
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (belongs(all[i].whole)) found.push_back(static_cast<std::int64_t>(i));
    }
  };
  const bool is_head = unit.layer == OpKey::kHead || unit.mtp_head;
  if (!is_head) {
    add([&](const Parameter& p) { return orrery::unit_of(p) == unit.layer; });
    // A prediction module looks up the tokens that it predicts from.
    if (unit.layer >= num_layers_) add([](const Parameter& p) { return p.role == WeightRole::embedding; });
    return found;
  }
  // The head behind a module has the norm of the module.
  add([&](const Parameter& p) {
    return unit.mtp_head ? p.role == WeightRole::mtp_final_norm && p.layer == unit.layer
                         : p.role == WeightRole::final_norm;
  });
  const WeightRole table = places_.contains({WeightRole::head, -1}) ? WeightRole::head : WeightRole::embedding;
  if (kind == FlatBufferKind::dense) add([&](const Parameter& p) { return p.role == table; });
  return found;
}

std::int64_t Weights::offset_in_unit(const Place& place, const UnitId& unit) const {
  const std::span<const LocalParameter> all = states_[static_cast<std::size_t>(place.kind)].parameters();
  std::int64_t offset = 0;
  for (const std::int64_t i : parameters_of(place.kind, unit)) {
    if (i == place.parameter) return offset;
    offset += all[static_cast<std::size_t>(i)].size();
  }
  CHECK(false, unit.layer, place.parameter);
}

namespace {

Matrix part_of(const Matrix& buffer, std::int64_t first, std::int64_t rows, std::int64_t cols) {
  CHECK(first + rows * cols <= buffer.cols, first, rows, cols, buffer.cols);
  return {buffer.at(0, first), buffer.dtype, rows, cols, cols};
}

}  // namespace

ConstMatrix Weights::weight(WeightRole role, std::int64_t layer, const UnitId& unit) {
  const Place& at = place(role, layer);
  FlatState& held = state(at.kind);
  if (!held.shards_weights()) {
    const Matrix flat = held.weights(at.parameter, 0, at.rows * at.cols);
    return {flat.first, flat.dtype, at.rows, at.cols, at.cols};
  }
  const auto found = weights_of_unit_.find({at.kind, unit});
  CHECK(found != weights_of_unit_.end(), static_cast<int>(role), layer, unit.layer, unit.micro_batch);
  return part_of(found->second, offset_in_unit(at, unit), at.rows, at.cols);
}

Matrix Weights::gradient(WeightRole role, std::int64_t layer, const UnitId& unit) {
  const Place& at = place(role, layer);
  FlatState& held = state(at.kind);
  if (!held.shards_gradients()) {
    const Matrix flat = held.gradients(at.parameter, 0, at.rows * at.cols);
    return {flat.first, flat.dtype, at.rows, at.cols, at.cols};
  }
  const auto found = bucket_of_unit_.find({at.kind, unit});
  const Matrix sums = found != bucket_of_unit_.end() ? found->second : early_bucket(at, unit);
  return part_of(sums, offset_in_unit(at, unit), at.rows, at.cols);
}

Matrix Weights::early_bucket(const Place& place, const UnitId& unit) {
  FlatState& held = state(place.kind);
  std::int64_t count = 0;
  for (const std::int64_t i : parameters_of(place.kind, unit)) {
    count += held.parameters()[static_cast<std::size_t>(i)].size();
  }
  std::vector<std::byte>& storage = early_[{place.kind, unit}];
  storage.resize(static_cast<std::size_t>(count * size_of(held.kind().wire)));
  return {storage.data(), held.kind().wire, 1, count, count};
}

void Weights::start_bucket(FlatBufferKind kind, const UnitId& unit, Matrix buffer) {
  const auto early = early_.find({kind, unit});
  if (early == early_.end()) {
    fill_zero(buffer);
  } else {
    convert({early->second.data(), buffer.dtype, 1, buffer.cols, buffer.cols}, buffer);
    early_.erase(early);
  }
  bucket_of_unit_[{kind, unit}] = buffer;
}

void Weights::end_unit(const Matrix& buffer) {
  const auto is_there = [&](const auto& entry) { return entry.second.first == buffer.first; };
  std::erase_if(weights_of_unit_, is_there);
  std::erase_if(bucket_of_unit_, is_there);
}

std::span<float> Weights::router_bias(std::int64_t layer) {
  const auto found = router_biases_.find(layer);
  return found == router_biases_.end() ? std::span<float>() : std::span(found->second);
}

Weights::Kept Weights::kept() const {
  Kept kept;
  for (const FlatState& state : states_) {
    kept.weights += state.weight_bytes();
    kept.gradients += state.gradient_bytes();
    kept.optimizer += state.optimizer_bytes();
  }
  for (const auto& [layer, biases] : router_biases_) {
    kept.weights += static_cast<std::int64_t>(biases.size() * sizeof(float));
  }
  return kept;
}

}  // namespace orrery::executor
