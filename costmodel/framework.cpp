// SPDX-License-Identifier: Apache-2.0
#include "costmodel/framework.h"

#include "base/lower_case.h"
#include "program/flat_buffer.h"
#include "program/parameters.h"

#include <array>
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

namespace orrery::costmodel {
namespace {

// PyTorch's cuBLAS workspace on Hopper and later (aten/src/ATen/cuda/CublasHandlePool.cpp): one for each handle, so one
// for the thread of the forward and one for autograd's.
const Bytes kCublasWorkspace = mib(32);

bool contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

/// Weights whose products Transformer Engine runs: all matrices of layers but the router.
bool is_wgrad_buffered(const Parameter& parameter) {
  const bool in_layer = parameter.layer >= 0;
  const bool is_matrix = parameter.rows > 1 && parameter.cols > 1;
  const bool is_routing = parameter.role == WeightRole::router || parameter.role == WeightRole::shared_gate;
  return in_layer && is_matrix && !is_routing;
}

/// Rows and columns of a weight on one rank.
std::pair<std::int64_t, std::int64_t> shape_on_rank(const Parameter& parameter, const Model& model,
                                                    const Strategy& strategy) {
  const std::int64_t elements = elements_on_rank(parameter, model, strategy.tp, strategy.etp);
  if (parameter.split == Split::cols) return {parameter.rows, elements / parameter.rows};
  return {elements / parameter.cols, parameter.cols};
}

Bytes wgrad_buffers(const Model& model, const Strategy& strategy, const std::vector<StageLayout>& stages) {
  std::set<std::pair<std::int64_t, std::int64_t>> shapes;
  std::set<LayerKind> known;  // layers of a kind have the same shapes
  for (const StageLayout& stage : stages) {
    for (std::int64_t i = 0; i < stage.num_layers; ++i) {
      if (!known.insert(model.kind(stage.first_layer + i)).second) continue;
      // One expert stands for all: their shapes are equal.
      for (const Parameter& parameter : layer_parameters(model, stage.first_layer + i, 0, model.moe ? 1 : 0)) {
        if (is_wgrad_buffered(parameter)) shapes.insert(shape_on_rank(parameter, model, strategy));
      }
    }
  }
  double elements = 0.0;
  for (const auto& [rows, cols] : shapes) elements += static_cast<double>(rows * cols);
  return bytes(elements * static_cast<double>(size_of(strategy.precision)));
}

double parameters_on_rank(const Model& model, const Strategy& strategy, const Mesh& mesh,
                          const std::vector<StageLayout>& stages) {
  double elements = 0.0;
  for (const FlatBufferKind kind : {FlatBufferKind::dense, FlatBufferKind::expert}) {
    elements += static_cast<double>(flat_buffer(model, stages, strategy, mesh, kind).elements);
  }
  return elements;
}

bool holds_experts(const Model& model, const std::vector<StageLayout>& stages) {
  for (const StageLayout& stage : stages) {
    for (std::int64_t i = 0; i < stage.num_layers; ++i) {
      if (model.kind(stage.first_layer + i) == LayerKind::moe) return true;
    }
  }
  return false;
}

// Bytes of a logit. Fused: bf16 read, f32 probabilities written, and the other way round. Megatron's cross-entropy over
// a vocabulary that is shared out, op by op: cast to f32 6, maximum 4, difference 8, exponential 8, sum 4, quotient 8;
// backward: product 8, cast 6 (core/tensor_parallel/cross_entropy.py).
constexpr double kFusedLossBytes = 6.0;
constexpr double kUnfusedLossForward = 38.0 / kFusedLossBytes, kUnfusedLossBackward = 14.0 / kFusedLossBytes;

}  // namespace

Framework megatron() {
  Framework out;
  out.name = out.memory_like = "megatron";
  out.pads_vocabulary = true;     // make_vocab_size_divisible_by = 128
  out.zero = 1;                   // --use-distributed-optimizer in every published recipe
  out.overlaps_gradients = true;  // overlap_grad_reduce and overlap_param_gather, too
  // Router: Transformer Engine multiplies bf16 forward and, with every operand in f32, in tf32 backward (Megatron-LM,
  // moe_utils.py, RouterGatingLinearFunction; TE, gemm/cublaslt_gemm.cu: "Use TF32 only for pure FP32 GEMM").
  out.tf32 = true;
  // token_dispatcher.py: hidden states in bf16; fused_bias_swiglu.py writes bf16; Transformer Engine's linear layers
  // cast.
  out.fuses_casts = false;
  out.separate_biases = out.sorts_arrivals = true;  // costmodel/expert_passes.cpp
  // TE's Triton cross-entropy turns the bf16 logits into their gradient in place (SimuMax docs/b200/
  // b200_real_repro_guide.md, section 4); Megatron's own fused one keeps an f32 copy: 6.
  out.logits_bytes = 2.0;
  // megatron/core/tensor_parallel/layers.py: grad_weight of the output layer is torch.empty in the input's type.
  out.head_wgrad_is_buffer = true;
  // TE get_dummy_wgrad, cached by shape; with gradients fused into the main gradient it stands for every weight.
  out.keeps_wgrad_buffers = true;
  out.workspace = 2.0 * kCublasWorkspace + mib(32);  // and TE's own, 32 MiB since Hopper (module/base.py)
  out.grouped_workspace = 4.0 * mib(32);             // one for each of TE's four streams of grouped GEMMs
  // Reserved over allocated in 43 runs on B200 published by SimuMax: least 1.028, median 1.040, largest 1.093.
  out.fragmentation = 0.04;
  out.least_fragmentation = 0.028;
  out.largest_fragmentation = 0.093;
  out.reserve = gib(2);  // an assumption: context 0.3 to 0.6 GiB, NCCL 4 MiB for each channel and peer
  return out;
}

Framework megatron_bridge() {
  Framework out = megatron();
  out.name = "megatron-bridge";  // Megatron-LM's training loop, so that memory is as of its runs
  // perf_recipes/_common.py, _benchmark_common: grad_reduce_in_fp32 = False, cross_entropy_fusion_impl = "te".
  out.grad_dtype = DType::bf16;
  return out;
}

Framework torchtitan(bool compiled_loss) {
  Framework out;
  out.name = out.memory_like = "torchtitan";
  out.zero = 3;
  out.attention = AttentionKernels::flash_2;  // scaled_dot_product_attention's first choice
  if (!compiled_loss) {
    // Cast to f32 6, log-softmax 8; backward: of the negative log-likelihood 4, of log-softmax 12, cast 6.
    out.loss_forward = 14.0 / kFusedLossBytes;
    out.loss_backward = 22.0 / kFusedLossBytes;
  }
  out.shards_are_masters = true;  // FSDP2 MixedPrecisionPolicy(param_dtype=bfloat16, reduce_dtype=float32)
  // log_softmax keeps its output in f32, its backward holds two f32 gradients: 12; the freed bf16 logits stay reserved,
  // since no block that is asked for has their size: 14. A compiled loss keeps bf16 logits and their gradient.
  out.logits_bytes = compiled_loss ? 4.0 : 14.0;
  out.workspace = 2.0 * kCublasWorkspace;
  out.fragmentation = 0.0;  // published figures are reserved memory, and agree without: docs/design/frameworks.md
  out.reserve = gib(2);     // an assumption, as for megatron
  return out;
}

Framework nanotron() {
  Framework out;
  out.name = out.memory_like = "nanotron";
  out.zero = 0;
  out.recompute_is_none = true;               // config.py: recompute_layer = False
  out.attention = AttentionKernels::flash_2;  // flash_attn_func of package flash-attn (models/llama.py)
  out.loss_forward = kUnfusedLossForward;     // sharded_cross_entropy (tensor_parallel/functional.py)
  out.loss_backward = kUnfusedLossBackward;
  out.stage_split = StageSplit::by_cost;
  // torch DDP's buckets in bf16 beside FP32GradientAccumulator's gradients (optim/gradient_accumulator.py).
  out.bucket_bytes = 2.0;
  out.gathers_into_copy = true;   // optim/zero.py: all_gather_coalesced
  out.attention_rows = 2.0;       // keys and values in one buffer, queries as a view of a larger one (models/llama.py)
  out.feed_forward_widths = 1.0;  // SwiGLU is not fused: silu(gate) is saved beside gate, up and product
  out.logits_bytes = 8.0;         // f32 logits and a shifted copy (tensor_parallel/functional.py)
  out.num_gather_buffers = 2;     // MemoryBuffer "allgather" and "allgather2" (the same)
  out.workspace = 2.0 * kCublasWorkspace;
  // Reserved over allocated of the runs that succeeded (docs/design/frameworks.md); whether a run failed was not used.
  out.fragmentation = 0.15;
  // 79.1 GiB less the largest reserved memory that was ever seen to succeed, 76.93 GiB.
  out.reserve = gib(2.2);
  return out;
}

Framework megatron_deepspeed() {
  Framework out;
  out.name = "megatron-deepspeed";
  out.pads_vocabulary = true;
  out.memory_is_known = false;
  out.sequence_parallel = false;                   // Megatron-DeepSpeed forked before it
  out.zero = 0;                                    // vTrain's configurations leave DeepSpeed's stage at 0
  out.grad_dtype = DType::bf16;                    // fp16 gradients, which are reduced as they are
  out.attention = AttentionKernels::materialized;  // its fused softmax kernel, before flash attention
  out.loss_forward = kUnfusedLossForward;
  out.loss_backward = kUnfusedLossBackward;
  return out;
}

Framework composer() {
  Framework out;
  out.name = "composer";
  out.memory_is_known = false;
  out.zero = 3;  // FSDP with mixed_precision PURE: f32 shards, bf16 copies and gradients on the wire
  out.attention = AttentionKernels::flash_2;  // attn_impl: flash
  return out;
}

Framework internevo() {
  Framework out;
  out.name = "internevo";
  out.memory_is_known = false;
  out.zero = 1;
  out.grad_dtype = DType::bf16;
  return out;
}

Framework training_adapters(Framework framework) {
  framework.name = "adapters";
  framework.weight_gradients = false;
  return framework;
}

KernelParameters with_kernels_of(const Framework& framework, KernelParameters numbers) {
  numbers.attention = framework.attention;
  numbers.loss_forward = framework.loss_forward;
  numbers.loss_backward = framework.loss_backward;
  numbers.tf32 = framework.tf32;
  numbers.fused_experts = framework.fused_experts;
  numbers.separate_biases = framework.separate_biases;
  numbers.sorts_arrivals = framework.sorts_arrivals;
  numbers.weight_gradients = framework.weight_gradients;
  if (framework.exchange_holds) numbers.exchange_holds = framework.exchange_holds;
  return numbers;
}

namespace {

std::array<Framework, 7> presets() {
  return {megatron(), megatron_bridge(), torchtitan(), nanotron(), megatron_deepspeed(), composer(), internevo()};
}

}  // namespace

Framework framework_named(std::string_view name) {
  for (const Framework& known : presets()) {
    if (known.name == name) return known;
  }
  return {};
}

std::vector<std::string_view> frameworks_with_memory() {
  std::vector<std::string_view> out;
  for (const Framework& known : presets()) {
    if (known.memory_is_known) out.push_back(known.name);
  }
  return out;
}

std::optional<Framework> framework_of(std::string_view software) {
  const std::string words = lower_case(std::string(software));
  if (contains(words, "nanotron")) return nanotron();
  if (contains(words, "torchtitan")) return torchtitan(!contains(words, "(2024"));
  if (contains(words, "megatron-bridge")) return megatron_bridge();
  if (contains(words, "megatron-deepspeed")) return megatron_deepspeed();
  if (contains(words, "composer")) return composer();
  if (contains(words, "internevo")) return internevo();
  // NeMo, Primus and MindSpeed train with Megatron-LM core; MLPerf's submitters spell it in three ways, or name PyTorch
  // alone.
  for (const std::string_view name :
       {"megatron", "nemo", "primus", "mindspeed", "pytorch", "nvidia release", "rocm", "llmboost", "cuda"}) {
    if (contains(words, name)) return megatron();
  }
  return std::nullopt;
}

double saved_beside(const Framework& framework, const Model& model, const Strategy& strategy, LayerKind kind,
                    double ours) {
  const auto element = static_cast<double>(size_of(strategy.precision));
  const auto tp = static_cast<double>(strategy.tp);
  const double row = static_cast<double>(model.hidden) * element;
  const auto* gqa = std::get_if<GroupedQueryAttention>(&model.attention);
  const double out = std::visit(
      [&](const auto& a) {
        if constexpr (std::is_same_v<std::decay_t<decltype(a)>, GroupedQueryAttention>) {
          return static_cast<double>(a.num_heads * a.head_dim) * element;
        } else {
          return static_cast<double>(a.num_heads * a.v_head_dim) * element;
        }
      },
      model.attention);
  if (framework.saves_every_second_product && gqa != nullptr && kind == LayerKind::dense) {
    // The layer's input; of the products q, k, v, o, gate, up, down every other one; and the attention's output.
    const double statistics = 4.0 * static_cast<double>(gqa->num_heads);
    const double value = static_cast<double>(gqa->num_kv_heads * gqa->head_dim) * element;
    const double gate = static_cast<double>(model.dense_width) * element;
    return (row + out + value + out + statistics + gate + row) / tp - ours;
  }
  double more = framework.attention_rows * row;
  if (kind == LayerKind::dense)
    more += framework.feed_forward_widths * static_cast<double>(model.dense_width) * element;
  return more / tp;
}

Bytes buffers_of(const Framework& framework, const Model& model, const Strategy& strategy, std::int64_t tokens,
                 const Mesh& mesh, const std::vector<StageLayout>& stages) {
  Bytes out = framework.workspace;
  if (holds_experts(model, stages)) out += framework.grouped_workspace;
  if (framework.keeps_wgrad_buffers) out += wgrad_buffers(model, strategy, stages);
  if (mesh.size(Group::dp) > 1) {
    out += bytes(framework.bucket_bytes * parameters_on_rank(model, strategy, mesh, stages));
  }
  if (strategy.tp > 1) {
    const auto row = static_cast<double>(model.hidden * size_of(strategy.precision));
    out += bytes(framework.num_gather_buffers * static_cast<double>(tokens) * row);
  }
  return out;
}

Bytes update_copies_of(const Framework& framework, const Model& model, const Strategy& strategy, const Mesh& mesh,
                       const StageLayout& stage) {
  const auto ranks = static_cast<double>(mesh.size(Group::dp));
  if (!framework.gathers_into_copy || strategy.zero_dense != 1 || ranks == 1.0) return {};
  const double weights =
      parameters_on_rank(model, strategy, mesh, {stage}) * static_cast<double>(size_of(strategy.precision));
  return bytes(weights + weights / ranks);
}

}  // namespace orrery::costmodel
