// SPDX-License-Identifier: Apache-2.0
// Trains a small model with its ranks as threads of this process.
#pragma once

#include "executor/runtime/rank_runtime.h"
#include "program/lower.h"
#include "tests/unit/executor/comm/thread_ranks.h"

#include <functional>
#include <memory>
#include <thread>
#include <vector>

namespace orrery::executor::testing {

/// One dense layer, then MoE layers with 8 experts of which 2 work on each token; 2 KV heads for 4 query heads.
inline Model small_model() {
  Model model;
  model.name = "small";
  model.family = "mixtral";
  model.hidden = 32;
  model.vocab = 64;
  model.dense_width = 48;
  model.attention = GroupedQueryAttention{.num_heads = 4, .num_kv_heads = 2, .head_dim = 8};
  model.moe =
      MoeBlock{.num_experts = 8, .top_k = 2, .expert_width = 24, .normalize_top_k = true, .aux_loss_coefficient = 0.01};
  model.layers = {LayerKind::dense, LayerKind::moe, LayerKind::moe, LayerKind::moe};
  return model;
}

/// As GLM-4.5 but for its biases: shared expert, q/k-norm, RoPE on half a head, sigmoid scores, aux-free bias.
inline Model rich_model() {
  Model model = small_model();
  auto& attention = std::get<GroupedQueryAttention>(model.attention);
  attention.qk_norm = true;
  attention.rotary_dim = attention.head_dim / 2;
  model.moe->shared_width = 16;
  model.moe->score = orrery::RouterScore::sigmoid;
  model.moe->aux_free_bias = true;
  model.moe->routed_scaling = 1.5;
  return model;
}

/// As DeepSeek-V3: latent attention, groups of experts, sigmoid scores with a selection bias, a shared expert, one
/// prediction module.
inline Model deepseek_model() {
  Model model = rich_model();
  model.family = "deepseek_v3";
  model.attention = MultiHeadLatentAttention{
      .num_heads = 4, .q_lora_rank = 24, .kv_lora_rank = 16, .qk_nope_dim = 8, .qk_rope_dim = 4, .v_head_dim = 8};
  model.moe->num_groups = 4;
  model.moe->top_k_groups = 2;
  model.moe->aux_loss_coefficient = 0.0;
  model.num_mtp_modules = 1;
  return model;
}

/// As GPT-OSS: biases everywhere, sinks, every second layer sees a window, and the experts' SwiGLU is clamped, with a
/// limit that many values of a young model are beyond.
inline Model gpt_oss_model() {
  Model model = small_model();
  model.family = "gpt_oss";
  auto& attention = std::get<GroupedQueryAttention>(model.attention);
  attention.qkv_bias = attention.out_bias = attention.sinks = true;
  model.mlp_bias = true;
  model.moe->router_bias = model.moe->expert_bias = true;
  model.moe->swiglu_limit = 0.4;
  model.moe->aux_loss_coefficient = 0.0;
  model.spans.assign(model.layers.size(), {});
  for (std::size_t i = 0; i < model.spans.size(); i += 2) model.spans[i].window = 6;
  return model;
}

/// As Qwen2-MoE: biases of queries, keys and values, and a gate on the shared expert.
inline Model qwen2_moe_model() {
  Model model = small_model();
  model.family = "qwen2_moe";
  std::get<GroupedQueryAttention>(model.attention).qkv_bias = true;
  model.moe->shared_width = 16;
  model.moe->shared_expert_gate = true;
  model.moe->aux_loss_coefficient = 0.0;
  return model;
}

inline constexpr BatchShape kBatch{.seq = 16, .global_batch = 8};

inline Strategy strategy_of(const Model& model, std::int64_t pp = 1, std::int64_t ep = 1,
                            std::int64_t micro_batch = 1) {
  Strategy strategy;
  strategy.pp = pp;
  strategy.ep = ep;
  strategy.micro_batch = micro_batch;
  strategy.precision = DType::f32;
  strategy.mtp = model.num_mtp_modules > 0 ? Mtp::on : Mtp::off;
  strategy.stages = with_mtp(even_stages(model.num_layers(), pp), model.num_mtp_modules);
  return strategy;
}

/// Small tests leave the choice of GEMM open, but their weights must not start so small that nothing happens, and the
/// limit of gradient norms is one that they exceed, so that every comparison has clipped steps.
inline TrainingSettings settings_of(std::int64_t num_steps) {
  TrainingSettings settings;
  settings.num_steps = num_steps;
  settings.init_deviation = 0.1F;
  settings.clip_norm = 0.1;
  return settings;
}

/// Runs `body(runtime, rank)` on every rank of the program, each in its thread, over `segment`.
inline void on_all_ranks(const StepProgram& program, const TrainingSettings& settings,
                         const std::shared_ptr<Segment>& segment,
                         const std::function<void(RankRuntime&, int rank)>& body, Backend backend = Backend::shm) {
  const int num_ranks = segment->num_ranks();
  std::vector<TcpSeat> seats = seats_of(backend, num_ranks);
  std::vector<std::thread> threads;
  std::vector<std::exception_ptr> errors(static_cast<std::size_t>(num_ranks));
  for (int rank = 0; rank < num_ranks; ++rank) {
    threads.emplace_back([&, rank] {
      try {
        set_num_threads(1);
        const auto endpoint = endpoint_of(backend, segment, rank, seats);
        RankRuntime runtime(program, RankId(rank), *endpoint, settings);
        body(runtime, rank);
      } catch (const std::exception& error) {
        segment->fail(rank, error.what());
        errors[static_cast<std::size_t>(rank)] = std::current_exception();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
}

inline void on_all_ranks(const StepProgram& program, const TrainingSettings& settings,
                         const std::function<void(RankRuntime&, int rank)>& body, Backend backend = Backend::shm) {
  on_all_ranks(program, settings, Segment::create({.num_ranks = static_cast<int>(program.mesh.world())}), body,
               backend);
}

/// Loss of each step, as rank 0 saw it.
inline std::vector<double> losses(const StepProgram& program, const TrainingSettings& settings) {
  std::vector<double> result;
  on_all_ranks(program, settings, [&](RankRuntime& runtime, int rank) {
    for (std::int64_t step = 0; step < settings.num_steps; ++step) {
      const double loss = runtime.run_step().record.loss;
      if (rank == 0) result.push_back(loss);
    }
  });
  return result;
}

}  // namespace orrery::executor::testing
