// SPDX-License-Identifier: Apache-2.0
#include "program/dimension_rules.h"

#include "program/counts.h"
#include "program/names.h"

#include <algorithm>

#include <fmt/format.h>

namespace orrery {
namespace {

class DimensionRules {
 public:
  DimensionRules(const Model& model, const Strategy& strategy, const BatchShape& batch, std::int64_t num_devices)
      : model_(model), s_(strategy), batch_(batch), num_devices_(num_devices) {}

  std::vector<Violation> run() {
    tensor_parallel();
    context_parallel();
    experts();
    sharding();
    overlap();
    types();
    prediction_modules();
    return std::move(out_);
  }

 private:
  void refuse(std::string key, std::string expected, std::string hint = "") {
    out_.push_back({.key = std::move(key), .expected = std::move(expected), .hint = std::move(hint)});
  }
  void divides(const char* key, std::int64_t value, std::int64_t n, std::string_view meaning) {
    if (n % value != 0) refuse(key, fmt::format("expected a divisor of {} ({}), got {}", n, meaning, value));
  }

  std::int64_t kv_heads() const {
    if (const auto* gqa = std::get_if<GroupedQueryAttention>(&model_.attention)) return gqa->num_kv_heads;
    return std::get<MultiHeadLatentAttention>(model_.attention).num_heads;
  }
  std::int64_t heads() const {
    return std::visit([](const auto& attention) { return attention.num_heads; }, model_.attention);
  }

  void tensor_parallel() {
    if (s_.tp == 1) return;
    const std::int64_t kv = kv_heads();
    if (kv % s_.tp != 0 && s_.tp % kv != 0) {
      refuse("tp", fmt::format("expected a divisor or a multiple of {} (key-value heads), got {}", kv, s_.tp));
    }
    divides("tp", s_.tp, model_.vocab, "rows of the vocabulary");
    if (model_.dense_width > 0) divides("tp", s_.tp, model_.dense_width, "width of the dense layers");
    if (model_.moe && model_.moe->shared_width > 0) {
      divides("tp", s_.tp, model_.moe->shared_width, "width of the shared experts");
    }
    if (s_.sp) divides("tp", s_.tp, batch_.seq / s_.cp, "tokens of a sequence on a rank");
    // Without it every TP rank would send the same tokens. Source: Megatron-LM, arguments.py.
    if (model_.moe && !s_.sp) refuse("sp", "expected true, since tp is above 1 and the model has experts, got false");
    if (s_.overlap.tp && !s_.sp) refuse("overlap/tp", "expected false, since without sp nothing is gathered, got true");
  }

  void context_parallel() {
    if (s_.cp == 1) return;
    // Two chunks of each sequence for each rank, so that causal work is even.
    divides("cp", 2 * s_.cp, batch_.seq, "tokens of a sequence, in two chunks for each rank");
    const bool has_window = std::any_of(model_.spans.begin(), model_.spans.end(),
                                        [](const AttentionSpan& span) { return !span.is_full(); });
    if (has_window && s_.cp_kind == ContextParallel::ring) {
      refuse("cp_kind",
             "expected \"all_gather\" or \"ulysses\", since layers see a window: rounds of a ring would be uneven, got "
             "\"ring\"");
    }
    if (s_.cp_kind != ContextParallel::ulysses) return;
    divides("cp", s_.cp, std::max<std::int64_t>(heads() / s_.tp, 1), "attention heads of a TP rank");
    divides("cp", s_.cp, std::max<std::int64_t>(kv_heads() / s_.tp, 1), "key-value heads of a TP rank");
  }

  void experts() {
    if (s_.capacity_factor) {
      if (!model_.moe) refuse("capacity_factor", "expected null, since the model has no experts");
      if (*s_.capacity_factor <= 0.0) {
        refuse("capacity_factor", fmt::format("expected more than 0, got {}", *s_.capacity_factor));
      }
      if (s_.dispatcher != Dispatcher::all_to_all) {
        refuse("dispatcher", fmt::format("expected \"all_to_all\", since only its rows have places to drop from "
                                         "(capacity_factor), got \"{}\"",
                                         name_of(kDispatcherNames, s_.dispatcher)));
      }
    }
    if (s_.dispatcher != Dispatcher::all_to_all && s_.ep == 1) {
      refuse("dispatcher", fmt::format("expected \"all_to_all\", since ep is 1 and no row travels, got \"{}\"",
                                       name_of(kDispatcherNames, s_.dispatcher)));
    }
  }

  void sharding() {
    if (!model_.moe && s_.zero_expert != 0) {
      refuse("zero_expert", fmt::format("expected 0, since the model has no experts, got {}", s_.zero_expert));
    }
    const std::int64_t instances = s_.num_optimizer_instances;
    if (instances == 1) return;
    if (s_.zero_dense == 0 && s_.zero_expert == 0) {
      refuse("num_optimizer_instances", fmt::format("expected 1, since nothing is sharded, got {}", instances));
    }
    const std::int64_t mirrored = s_.schedule == Schedule::dualpipe ? 2 : 1;
    divides("num_optimizer_instances", instances, mirrored * num_devices_ / (s_.tp * s_.pp),
            "ranks that share dense parameters");
    if (model_.moe) {
      divides("num_optimizer_instances", instances, mirrored * num_devices_ / (s_.etp * s_.ep * s_.pp),
              "ranks that share an expert");
    }
  }

  void overlap() {
    if (s_.overlap.dp_buckets && (s_.zero_dense > 1 || s_.zero_expert > 1)) {
      refuse("overlap/dp_buckets", "expected false, since ZeRO 2 and 3 exchange layer by layer already, got true");
    }
    if (s_.overlap.ep_batch_level) {
      const bool in_turn = s_.schedule == Schedule::one_f_one_b || s_.schedule == Schedule::interleaved;
      if (s_.ep == 1) refuse("overlap/ep_batch_level", "expected false, since ep is 1 and no row travels, got true");
      // Zero-bubble orders have no forward beside a whole backward; DualPipe's pairs overlap by themselves.
      if (!in_turn) {
        refuse("overlap/ep_batch_level",
               fmt::format("expected false, since schedule \"{}\" has no forward and backward in turn, got true",
                           name_of(s_.schedule)));
      }
    }
    if (s_.overlap.shared_expert && (!model_.moe || model_.moe->shared_width == 0)) {
      refuse("overlap/shared_expert", "expected false, since the model has no shared experts, got true");
    }
  }

  void type(const char* key, DType value) {
    if (value == DType::f32 || value == DType::bf16) return;
    refuse(key, fmt::format("expected \"f32\" or \"bf16\", got \"{}\"", name_of(value)));
  }

  void gradients() {
    if (s_.grad_dtype == DType::i64 || s_.grad_wire_dtype == DType::i64) {
      if (s_.grad_dtype == s_.grad_wire_dtype) return;
      refuse("grad_wire_dtype",
             fmt::format("expected the type of grad_dtype, since whole numbers (\"i64\") are added as "
                         "such wherever they are, got \"{}\" and \"{}\"",
                         name_of(s_.grad_wire_dtype), name_of(s_.grad_dtype)));
      return;
    }
    type("grad_dtype", s_.grad_dtype);
    type("grad_wire_dtype", s_.grad_wire_dtype);
  }

  void types() {
    type("master_dtype", s_.master_dtype);
    type("moment_dtype", s_.moment_dtype);
    gradients();
    if (s_.optimizer == OptimizerKind::muon && (s_.zero_dense > 1 || s_.zero_expert > 1)) {
      refuse("optimizer",
             "expected \"adamw\", since Muon needs whole matrices of gradients (zero_dense, zero_expert), "
             "got \"muon\"");
    }
    if (s_.precision != DType::fp8) return;
    // Tiles of the products: NVIDIA Transformer Engine asks for multiples of 16, scales have blocks of their own.
    const std::int64_t block = s_.fp8_recipe == Fp8Recipe::tensorwise ? 16
                               : s_.fp8_recipe == Fp8Recipe::mxfp8    ? 32
                                                                      : 128;
    const auto needs = [&](std::int64_t width, std::string_view what) {
      if (width % block == 0) return;
      refuse("precision", fmt::format("expected a {} that is a multiple of {} for fp8 (\"{}\"), got {}", what, block,
                                      name_of(kFp8RecipeNames, s_.fp8_recipe), width));
    };
    needs(model_.hidden, "hidden size");
    if (model_.dense_width > 0) needs(model_.dense_width / s_.tp, "width of the dense layers on a rank");
    if (model_.moe) needs(model_.moe->expert_width / s_.etp, "width of an expert on a rank");
  }

  void prediction_modules() {
    const std::int64_t wanted = num_mtp_modules(model_, s_.mtp);
    if (s_.mtp == Mtp::on && model_.num_mtp_modules == 0) {
      refuse("mtp", "expected \"off\", since the model has no prediction modules, got \"on\"");
    }
    std::int64_t found = 0;
    for (std::size_t i = 0; i < s_.stages.size(); ++i) {
      const StageLayout& stage = s_.stages[i];
      if (stage.num_mtp == 0) continue;
      found += stage.num_mtp;
      if (stage.first_layer + stage.num_layers != model_.num_layers() || stage.num_mtp != wanted) {
        refuse(fmt::format("stages/{}/mtp", i),
               fmt::format("expected 0, or all {} modules on one stage with or behind the last layer, got {}", wanted,
                           stage.num_mtp));
      }
    }
    if (found != wanted) {
      refuse("stages", fmt::format("expected {} prediction modules (mtp \"{}\"), got {}", wanted,
                                   name_of(kMtpNames, s_.mtp), found));
    }
    const bool copies = wanted > 0 && model_.tied_embeddings && s_.num_stages() > 1;
    if (copies && !s_.stages.empty() && s_.stages.back().num_mtp == 0) {
      refuse("stages", "expected the prediction modules beside the head, since both hold a copy of the embedding");
    }
  }

  const Model& model_;
  const Strategy& s_;
  const BatchShape& batch_;
  const std::int64_t num_devices_;
  std::vector<Violation> out_;
};

}  // namespace

Violation too_many_stages(const Model& model, const Strategy& strategy) {
  return {.key = strategy.vpp > strategy.pp ? "vpp" : "pp",
          .expected = fmt::format(
              "expected at most {} stages (pp * vpp), one for each layer, for the embedding and for the head, got {}",
              most_stages(model.num_layers()), strategy.num_stages()),
          .hint = ""};
}

std::vector<Violation> dimension_violations(const Model& model, const Strategy& strategy, const BatchShape& batch,
                                            std::int64_t num_devices) {
  return DimensionRules(model, strategy, batch, num_devices).run();
}

}  // namespace orrery
