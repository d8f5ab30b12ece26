// SPDX-License-Identifier: Apache-2.0
#include "executor/runtime/weights.h"

#include "base/check.h"
#include "executor/kernels/elementwise.h"
#include "executor/kernels/initialize.h"

#include <algorithm>

namespace orrery::executor {

FlatState::FlatState(const FlatBuffer& layout, bool sharded, std::int64_t index_in_group, DType dtype)
    : layout_(layout),
      dtype_(dtype),
      shard_begin_(static_cast<std::size_t>(index_in_group * layout.shard())),
      shard_size_(static_cast<std::size_t>(layout.shard())),
      update_begin_(sharded ? shard_begin_ : 0),
      update_size_(sharded ? shard_size_ : static_cast<std::size_t>(layout.padded)),
      weights_(static_cast<std::size_t>(layout.padded * size_of(dtype))),
      gradients_(static_cast<std::size_t>(layout.padded)),
      master_(dtype == DType::f32 ? 0 : update_size_),
      first_moment_(update_size_),
      second_moment_(update_size_) {}

Matrix FlatState::weights(std::int64_t first, std::int64_t count) {
  return {weights_.data() + first * size_of(dtype_), dtype_, 1, count, count};
}

std::span<std::byte> FlatState::weight_shard_bytes() {
  const auto size = static_cast<std::size_t>(size_of(dtype_));
  return std::span(weights_).subspan(shard_begin_ * size, shard_size_ * size);
}

void FlatState::start_masters() {
  if (master_.empty()) return;
  const auto count = static_cast<std::int64_t>(update_size_);
  convert(weights(static_cast<std::int64_t>(update_begin_), count), matrix_of(master_.data(), 1, count));
}

void FlatState::update(const AdamWSettings& settings, std::int64_t step, float gradient_scale) {
  const Matrix model = weights(static_cast<std::int64_t>(update_begin_), static_cast<std::int64_t>(update_size_));
  const std::span<float> master =
      master_.empty() ? std::span(static_cast<float*>(model.first), update_size_) : std::span(master_);
  adamw_update(settings, step, gradient_scale, std::span(gradients_).subspan(update_begin_, update_size_),
               first_moment_, second_moment_, master, model);
}

void FlatState::clear_gradients() { std::fill(gradients_.begin(), gradients_.end(), 0.0F); }

std::int64_t FlatState::bytes() const {
  const std::size_t floats = gradients_.size() + master_.size() + first_moment_.size() + second_moment_.size();
  return static_cast<std::int64_t>(weights_.size() + floats * sizeof(float));
}

namespace {

const StageLayout& stage_of(const StepProgram& program, RankId rank) {
  return program.strategy.stages[static_cast<std::size_t>(program.mesh.coords(rank).pp)];
}

FlatState flat_state(const StepProgram& program, RankId rank, FlatBufferKind kind) {
  const bool dense = kind == FlatBufferKind::dense;
  const FlatBuffer layout = flat_buffer(program.model, stage_of(program, rank), program.strategy, program.mesh, kind);
  const int zero = dense ? program.strategy.zero_dense : program.strategy.zero_expert;
  const std::int64_t index = program.mesh.index_in_group(dense ? Group::dp : Group::edp, rank);
  return {layout, zero >= 1, index, program.strategy.precision};
}

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

}  // namespace

Weights::Weights(const StepProgram& program, RankId rank, const TrainingSettings& settings)
    : dense_(flat_state(program, rank, FlatBufferKind::dense)),
      expert_(flat_state(program, rank, FlatBufferKind::expert)) {
  std::int64_t next_dense = 0, next_expert = 0;
  const std::int64_t ep_index = program.mesh.coords(rank).ep;
  for (const Parameter& p : stage_parameters(program.model, stage_of(program, rank), program.strategy.ep, ep_index)) {
    if (p.buffer) {
      router_biases_[p.layer].assign(static_cast<std::size_t>(p.size()), 0.0F);
      continue;
    }
    std::int64_t& next = p.is_expert() ? next_expert : next_dense;
    const auto [found, is_first] = places_.try_emplace({p.role, p.layer}, Place{p.is_expert(), next, 0, p.cols});
    Place& place = found->second;
    CHECK(place.first + place.rows * place.cols == next, name_of(p));  // experts of one weight lie side by side
    place.rows += p.rows;
    const Matrix values = state(place).weights(next, p.size());
    if (is_norm(p.role)) {
      initialize_constant(1.0F, values);
    } else {
      initialize_normal(settings.seed, name_of(p), 0, settings.init_deviation, values);
    }
    next += p.size();
  }
  dense_.start_masters();
  expert_.start_masters();
}

const Weights::Place& Weights::place(WeightRole role, std::int64_t layer) const {
  const auto found = places_.find({role, layer});
  CHECK(found != places_.end(), static_cast<int>(role), layer);
  return found->second;
}

ConstMatrix Weights::weight(WeightRole role, std::int64_t layer) {
  const Place& at = place(role, layer);
  const Matrix flat = state(at).weights(at.first, at.rows * at.cols);
  return {flat.first, flat.dtype, at.rows, at.cols, at.cols};
}

Matrix Weights::gradient(WeightRole role, std::int64_t layer) {
  const Place& at = place(role, layer);
  return matrix_of(state(at).gradients().data() + at.first, at.rows, at.cols);
}

std::span<float> Weights::gradient_vector(WeightRole role, std::int64_t layer) {
  const Matrix all = gradient(role, layer);
  return {static_cast<float*>(all.first), static_cast<std::size_t>(all.rows * all.cols)};
}

std::span<float> Weights::router_bias(std::int64_t layer) {
  const auto found = router_biases_.find(layer);
  return found == router_biases_.end() ? std::span<float>() : std::span(found->second);
}

}  // namespace orrery::executor
