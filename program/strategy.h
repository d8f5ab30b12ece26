// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "program/dtype.h"

#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <variant>
#include <vector>

// How a training step is split: the content of `strategy/1`, with one field for every dimension that Orrery knows.
// A Strategy can be written down before it can be run: what `lower` cannot do yet, it refuses by name
// (program/legality.h). Defaults are the plain choice of each dimension. Degrees that follow from others (dp, edp)
// are derived in program/mesh.h and never stored.

namespace orrery {

enum class Schedule : std::uint8_t { gpipe, one_f_one_b, interleaved, zb_h1, zb_h2, zbv, dualpipe, dualpipev };
enum class ContextParallel : std::uint8_t { ring, all_gather, ulysses };
enum class Dispatcher : std::uint8_t { all_to_all, all_gather, two_level };
enum class OptimizerKind : std::uint8_t { adamw, muon };
enum class Mtp : std::uint8_t { off, on };
/// How fp8 operands are scaled: one factor for a tensor, one for 1 x 128 elements (DeepSeek-V3), one for 1 x 32 (MX).
enum class Fp8Recipe : std::uint8_t { tensorwise, blockwise, mxfp8 };

/// Parts of a layer whose activations can be dropped after the forward and recomputed before the backward
/// (names of Megatron's --recompute-modules). `full` is the whole layer and excludes the others.
enum class RecomputeModule : std::uint8_t {
  layernorm,
  core_attn,
  mla_up_proj,
  mlp,
  moe,
  moe_act,
  shared_experts,
  full
};

/// One virtual pipeline stage: consecutive layers, and whether the embedding and the head live here.
struct StageLayout {
  std::int64_t first_layer = 0;
  std::int64_t num_layers = 0;
  bool embedding = false;
  bool head = false;
  std::int64_t num_mtp = 0;  // multi-token-prediction modules behind the layers, on the last stages only
  std::set<RecomputeModule> recompute = {};
  /// Number of layers, from the first of the stage, that recompute; all of them when absent.
  std::optional<std::int64_t> num_recompute_layers = {};

  bool operator==(const StageLayout&) const = default;
};

/// What may run beside compute. All false: a collective starts when its inputs are there and the next op on the
/// compute queue that needs its output waits, nothing is reordered to hide it.
struct Overlap {
  bool dp_buckets = false;      // gradient buckets during backward, parameter all-gather during forward
  bool tp = false;              // GEMMs in slices with the TP collectives
  bool ep_batch_level = false;  // forward of one micro-batch beside backward of another
  bool delayed_wgrad = false;   // weight gradients fill the gaps left by dispatch and combine
  bool shared_expert = false;   // shared expert beside dispatch

  bool operator==(const Overlap&) const = default;
};

struct Strategy {
  std::int64_t tp = 1;
  bool sp = false;
  std::int64_t pp = 1;
  std::int64_t vpp = 1;
  std::int64_t cp = 1;
  ContextParallel cp_kind = ContextParallel::ring;
  std::int64_t ep = 1;
  std::int64_t etp = 1;
  int zero_dense = 0;
  int zero_expert = 0;
  std::int64_t num_optimizer_instances = 1;  // hybrid sharding (HSDP): >1 shards inside an instance only
  std::int64_t micro_batch = 1;              // sequences
  Schedule schedule = Schedule::one_f_one_b;
  /// One entry per virtual stage (pp * vpp of them), in pipeline order.
  std::vector<StageLayout> stages;
  Dispatcher dispatcher = Dispatcher::all_to_all;
  std::optional<double> capacity_factor;  // absent: dropless
  Overlap overlap;
  bool cuda_graphs = false;
  bool offload_optimizer = false;
  bool offload_activations = false;
  DType precision = DType::bf16;  // of weights, activations and their messages; fp8: of operands of linear layers
  Fp8Recipe fp8_recipe = Fp8Recipe::blockwise;
  bool fp8_activation_input = false;  // what activation functions take is kept in fp8
  OptimizerKind optimizer = OptimizerKind::adamw;
  DType master_dtype = DType::f32;
  DType moment_dtype = DType::f32;
  DType grad_dtype = DType::f32;       // of accumulated gradients
  DType grad_wire_dtype = DType::f32;  // of gradient messages
  Mtp mtp = Mtp::off;
  std::string order = "tp-cp-ep-dp-pp";  // fastest-varying first

  std::int64_t num_stages() const { return pp * vpp; }
  bool operator==(const Strategy&) const = default;
};

/// Stages of so many layers each, in order, with embedding first and head last. Requires: at least one.
std::vector<StageLayout> stages_of_counts(std::span<const std::int64_t> counts);

/// The most stages on which each has something: one for each layer, and embedding and head alone.
constexpr std::int64_t most_stages(std::int64_t num_layers) { return num_layers + 2; }

/// Layouts of `num_layers` layers over `num_stages` stages with embedding first and head last. Layers that do not
/// divide go one each to the middle stages first, so that the ends, which carry embedding and head, are not longer;
/// with more stages than layers the ends have none.
/// `fewer_first` / `fewer_last` take one layer from the first / last stage and give it to the middle, if it has
/// more than one.
/// Requires: num_layers >= 1, most_stages(num_layers) >= num_stages >= 1.
std::vector<StageLayout> even_stages(std::int64_t num_layers, std::int64_t num_stages, bool fewer_first = false,
                                     bool fewer_last = false);

/// The stages with the prediction modules of a model on the stage of the head, where they are by default.
std::vector<StageLayout> with_mtp(std::vector<StageLayout> stages, std::int64_t num_modules);

/// Type of weights, of the residual stream and of messages: fp8 is only that of operands.
constexpr DType compute_dtype(const Strategy& s) { return s.precision == DType::fp8 ? DType::bf16 : s.precision; }

/// Bytes of a row of `width` fp8 elements with its scales.
/// Source: DeepSeek-V3 (arXiv 2412.19437), section 3.3.2: a f32 for 128 elements; OCP MX: a byte for 32.
constexpr std::int64_t fp8_row(std::int64_t width, Fp8Recipe recipe) {
  if (recipe == Fp8Recipe::blockwise) return width + 4 * ((width + 127) / 128);
  return recipe == Fp8Recipe::mxfp8 ? width + (width + 31) / 32 : width;
}

std::string_view name_of(Schedule);
std::string_view name_of(RecomputeModule);

}  // namespace orrery
