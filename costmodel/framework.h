// SPDX-License-Identifier: Apache-2.0
// What the training framework adds to a model's memory, beyond what model and strategy say: which copies it keeps,
// which kernels it fuses, what its allocator wastes. One struct of plain numbers and one preset for each framework;
// every number has its source beside it in framework.cpp, and docs/design/frameworks.md says how each was found.
// The default is our own executor, which adds nothing.
#pragma once

#include "base/units.h"
#include "costmodel/kernel_model.h"
#include "program/dtype.h"
#include "program/mesh.h"
#include "program/model.h"
#include "program/strategy.h"

#include <optional>
#include <string_view>
#include <vector>

namespace orrery::costmodel {

/// How layers are dealt to pipeline stages where nobody says.
enum class StageSplit {
  even,     // equally many; what is left over goes to the middle
  by_cost,  // a stage ends where the cumulative FLOPs of blocks reach its share (nanotron)
};

struct Framework {
  std::string_view name = "orrery";
  std::string_view memory_like = name;  // the preset whose runs tell how sure its memory is

  bool memory_is_known = true;  // false: no memory of its runs was published, what follows is of time alone

  // What it does unless it is told otherwise.
  bool sequence_parallel = true;   // where there is tensor parallelism
  std::optional<int> zero = {};    // stage of its optimizer, where a run does not say
  bool recompute_is_none = false;  // without a word about it, nothing is recomputed
  DType grad_dtype = DType::f32;   // of accumulated gradients
  StageSplit stage_split = StageSplit::even;

  bool pads_vocabulary = false;     // to a multiple of 128 for each rank of tensor parallelism
  bool overlaps_gradients = false;  // with the backward, where a run does not say
  // Kernels that it calls; of time alone. Losses that are not fused pass over f32 logits several times: their bytes,
  // over the six of a fused kernel.
  AttentionKernels attention = AttentionKernels::fused;
  double loss_forward = 1.0, loss_backward = 1.0;
  bool tf32 = false;                          // f32 products on tensor cores
  bool fused_experts = false;                 // one kernel multiplies, activates and casts for all experts
  bool separate_biases = false;               // KernelParameters::separate_biases
  bool sorts_arrivals = false;                // KernelParameters::sorts_arrivals
  bool weight_gradients = true;               // false: weights are frozen
  std::optional<double> exchange_holds = {};  // KernelParameters::exchange_holds
  // In fp8 training activations write fp8, and it travels to experts; false: products cast their inputs.
  bool fuses_casts = true;

  // States.
  double bucket_bytes = 0.0;        // per parameter, where gradients are reduced: buckets beside the gradients
  bool gathers_into_copy = false;   // ZeRO-1 gathers weights through flat copies of all of them and of its own shard
  bool shards_are_masters = false;  // ZeRO-3 keeps one f32 shard, which is weight and master, and casts as it gathers

  // Saved activations, beyond docs/design/memory.md; rows are hidden elements of the working precision.
  double attention_rows = 0.0;              // per token of a rank
  double feed_forward_widths = 0.0;         // of a gated feed-forward, widths of it per token of a rank
  bool saves_every_second_product = false;  // selective recomputation by operator: dense layers keep little else
  double logits_bytes = 6.0;                // per token and vocabulary entry at the fullest moment of the loss
  bool head_wgrad_is_buffer = false;        // backward of the head allocates a gradient in the weight's type

  // Buffers that stay from the first step on.
  bool keeps_wgrad_buffers = false;  // one gradient of each distinct weight shape, in the weight's type
  int num_gather_buffers = 0;        // of a whole micro-batch's rows, where there is tensor parallelism
  Bytes workspace = {};              // of GEMM libraries
  Bytes grouped_workspace = {};      // the same, on ranks that hold experts

  // What its process takes from the device beside its own tensors.
  double fragmentation = 0.0;  // reserved over allocated, minus 1
  /// Its least and largest that were ever seen, where only what is allocated is known of runs; both 0: nobody said.
  double least_fragmentation = 0.0, largest_fragmentation = 0.0;
  Bytes reserve = {};  // context of the driver, buffers of collectives

  bool operator==(const Framework&) const = default;
};

/// Megatron-LM core with Transformer Engine, gradients accumulated in f32.
Framework megatron();
/// The same as Megatron-Bridge's benchmarks set it up: gradients in bf16.
Framework megatron_bridge();
/// torchtitan: FSDP2 with f32 shards. `compiled_loss`: since 2025 the loss is compiled.
Framework torchtitan(bool compiled_loss = false);
Framework nanotron();
/// Of these three no memory was published: they serve predictions of time.
Framework megatron_deepspeed();
Framework composer();
Framework internevo();

/// The framework where it trains adapters beside frozen weights (LoRA). It has a name of its own, "adapters", by which
/// factors of training are told apart: what adapters add to a step is in no program.
Framework training_adapters(Framework framework);

/// `numbers` with the kernels that the framework calls.
KernelParameters with_kernels_of(const Framework& framework, KernelParameters numbers);

/// The preset of that name, the default's for another: "megatron-bridge".
Framework framework_named(std::string_view name);
/// Names of the presets that know memory: what a plan may name.
std::vector<std::string_view> frameworks_with_memory();
/// The preset of a published run's software, or nothing if we have none: "nanotron", "torchtitan 9dec370, ...".
std::optional<Framework> framework_of(std::string_view software);

/// Saved bytes of a layer per token of a micro-batch on the rank, beside `ours`, which docs/design/memory.md defines.
double saved_beside(const Framework& framework, const Model& model, const Strategy& strategy, LayerKind kind,
                    double ours);

/// What the framework keeps from the first step on, on a rank that holds these stages: weight-gradient buffers,
/// buckets, gather buffers, workspaces. All zero for the default. Requires: the stages are the strategy's.
Bytes buffers_of(const Framework& framework, const Model& model, const Strategy& strategy, std::int64_t tokens,
                 const Mesh& mesh, const std::vector<StageLayout>& stages);

/// Copies that exist while the optimizer steps, when the activations are gone.
Bytes update_copies_of(const Framework& framework, const Model& model, const Strategy& strategy, const Mesh& mesh,
                       const StageLayout& stage);

}  // namespace orrery::costmodel
