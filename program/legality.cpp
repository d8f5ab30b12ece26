// SPDX-License-Identifier: Apache-2.0
#include "program/legality.h"

#include "base/check.h"
#include "program/dimension_rules.h"
#include "program/rank_devices.h"
#include "program/schedule.h"

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace orrery {
namespace {

std::string hint_of(std::string_view what, std::int64_t below, std::int64_t above) {
  if (below > 0 && above > 0) return fmt::format("nearest {}s are {} and {}", what, below, above);
  return fmt::format("nearest {} is {}", what, std::max(below, above));
}

/// "nearest divisors are 32 and 64". Of a pair of divisors one is at most the root of `n`, which may be a large batch.
std::string nearest_divisors(std::int64_t n, std::int64_t x) {
  std::int64_t below = 1, above = n >= x ? n : 0;
  for (std::int64_t small = 1; small * small <= n; ++small) {
    if (n % small != 0) continue;
    for (const std::int64_t divisor : {small, n / small}) {
      if (divisor <= x) below = std::max(below, divisor);
      if (divisor >= x) above = std::min(above, divisor);
    }
  }
  return hint_of("divisor", below, above);
}

/// "nearest multiples are 96 and 128".
std::string nearest_multiples(std::int64_t n, std::int64_t x) {
  const std::int64_t below = x / n * n;
  return hint_of("multiple", below, below + n);
}

class Checker {
 public:
  Checker(const Model& model, const Strategy& strategy, const BatchShape& batch, std::int64_t num_devices)
      : model_(model), s_(strategy), batch_(batch), num_devices_(num_devices) {}

  std::vector<Violation> run() {
    order();
    if (!degrees_are_positive()) return std::move(out_);
    const bool attention_fits = product_divides({{{"tp", s_.tp}, {"cp", s_.cp}, {"pp", s_.pp}}}, "tp * cp * pp");
    const bool experts_fit = product_divides({{{"etp", s_.etp}, {"ep", s_.ep}, {"pp", s_.pp}}}, "etp * ep * pp");
    experts();
    tensor_parallel();
    const bool has_micro_batches = attention_fits && batch();
    schedule(has_micro_batches ? num_micro_batches()
                               : 2 * s_.pp);  // as many suit every order that has the right chunks
    stages();
    for (std::size_t i = 0; i < s_.stages.size(); ++i) recompute(i);
    if (attention_fits && experts_fit) {
      for (Violation& violation : dimension_violations(model_, s_, batch_, num_devices_)) {
        out_.push_back(std::move(violation));
      }
    }
    return std::move(out_);
  }

 private:
  using Degree = std::pair<const char*, std::int64_t>;

  void add(std::string key, std::string expected, std::string hint = "") {
    out_.push_back({.key = std::move(key), .expected = std::move(expected), .hint = std::move(hint)});
  }

  void order() {
    if (is_rank_order(s_.order)) return;
    add("order", fmt::format("expected one of {}, got \"{}\"", fmt::join(kRankOrders, ", "), s_.order));
  }

  bool degrees_are_positive() {
    const std::array<Degree, 9> degrees = {{{"tp", s_.tp},
                                            {"pp", s_.pp},
                                            {"vpp", s_.vpp},
                                            {"cp", s_.cp},
                                            {"ep", s_.ep},
                                            {"etp", s_.etp},
                                            {"micro_batch", s_.micro_batch},
                                            {"sequence", batch_.seq},
                                            {"global_batch", batch_.global_batch}}};
    for (const auto& [key, value] : degrees) {
      if (value < 1) add(key, fmt::format("expected at least 1, got {}", value));
    }
    return out_.empty();
  }

  /// Blames the largest degree: it is the one that a user would change.
  bool product_divides(const std::array<Degree, 3>& degrees, std::string_view formula) {
    const Degree& blamed = *std::max_element(degrees.begin(), degrees.end(),
                                             [](const Degree& a, const Degree& b) { return a.second < b.second; });
    std::int64_t product = 1;
    for (const Degree& degree : degrees) product *= degree.second;
    if (num_devices_ % product == 0) return true;
    const std::int64_t others = product / blamed.second;
    add(blamed.first,
        fmt::format("expected {} to be a divisor of {} (number of devices), got {}", formula, num_devices_, product),
        num_devices_ % others != 0
            ? ""
            : fmt::format("for {}, {}", blamed.first, nearest_divisors(num_devices_ / others, blamed.second)));
    return false;
  }

  void divides(const std::string& key, std::int64_t value, std::int64_t n, std::string_view meaning) {
    if (n % value == 0) return;
    add(key, fmt::format("expected a divisor of {} ({}), got {}", n, meaning, value), nearest_divisors(n, value));
  }

  void experts() {
    if (model_.moe) {
      divides("ep", s_.ep, model_.moe->num_experts, "number of experts");
      divides("etp", s_.etp, model_.moe->expert_width, "width of an expert");
      return;
    }
    if (s_.ep != 1) add("ep", fmt::format("expected 1, since the model has no experts, got {}", s_.ep));
    if (s_.etp != 1) add("etp", fmt::format("expected 1, since the model has no experts, got {}", s_.etp));
  }

  void tensor_parallel() {
    const std::int64_t heads = std::visit([](const auto& a) { return a.num_heads; }, model_.attention);
    divides("tp", s_.tp, heads, "attention heads");
    if (s_.sp && s_.tp == 1) add("sp", "expected false, since tp is 1, got true");
  }

  /// Whether the batch splits into micro-batches.
  bool batch() {
    const std::int64_t dp = num_devices_ / (s_.tp * s_.cp * s_.pp);
    if (batch_.global_batch % dp != 0) {
      add("global_batch",
          fmt::format("expected a multiple of {} (data-parallel ranks), got {}", dp, batch_.global_batch),
          nearest_multiples(dp, batch_.global_batch));
      return false;
    }
    divides("micro_batch", s_.micro_batch, batch_.global_batch / dp, "sequences of each data-parallel rank");
    return batch_.global_batch / dp % s_.micro_batch == 0;
  }

  std::int64_t num_micro_batches() const {
    const std::int64_t pipelines = num_devices_ / (s_.tp * s_.cp * s_.pp);
    return batch_.global_batch / (pipelines * s_.micro_batch);
  }

  void schedule(std::int64_t num_micro_batches) {
    const auto problem = schedule_problem(s_, num_micro_batches);
    if (problem) add("schedule", *problem, fmt::format("\"{}\" has no other order", name_of(s_.schedule)));
  }

  void stages() {
    if (static_cast<std::int64_t>(s_.stages.size()) != s_.num_stages()) {
      if (s_.num_stages() > most_stages(model_.num_layers())) return out_.push_back(too_many_stages(model_, s_));
      add("stages", fmt::format("expected {} stages (pp * vpp), got {}", s_.num_stages(), s_.stages.size()));
      return;
    }
    std::int64_t next = 0;
    for (std::size_t i = 0; i < s_.stages.size(); ++i) {
      const StageLayout& stage = s_.stages[i];
      const std::string at = fmt::format("stages/{}/", i);
      if (stage.first_layer != next) {
        add(at + "first_layer",
            fmt::format("expected {} (layers in order, each once), got {}", next, stage.first_layer));
      }
      next = stage.first_layer + stage.num_layers;
      only(at + "embedding", stage.embedding, i == 0, "the first");
      only(at + "head", stage.head, i + 1 == s_.stages.size(), "the last");
    }
    if (next != model_.num_layers()) {
      add("stages", fmt::format("expected stages up to layer {}, the last of the model, got {}",
                                model_.num_layers() - 1, next - 1));
    }
  }

  void only(const std::string& key, bool value, bool expected, std::string_view which) {
    if (value == expected) return;
    add(key, fmt::format("expected {}, since {} stage has it, got {}", expected, which, value));
  }

  void recompute(std::size_t index) {
    const StageLayout& stage = s_.stages[index];
    const std::string at = fmt::format("stages/{}/", index);
    const auto has = [&](RecomputeModule module) { return stage.recompute.contains(module); };
    const auto refuse = [&](RecomputeModule module, std::string_view reason) {
      if (has(module)) add(at + "recompute", fmt::format("expected no {}: {}", name_of(module), reason));
    };
    const auto contained = [&](RecomputeModule part, RecomputeModule whole) {
      if (has(whole)) refuse(part, fmt::format("{} recomputes it already", name_of(whole)));
    };
    for (const RecomputeModule module : stage.recompute) {
      if (module != RecomputeModule::full) contained(module, RecomputeModule::full);
    }
    contained(RecomputeModule::moe_act, RecomputeModule::moe);
    contained(RecomputeModule::shared_experts, RecomputeModule::moe);
    if (!model_.is_mla()) refuse(RecomputeModule::mla_up_proj, "the model has no multi-head latent attention");
    if (!model_.moe) {
      refuse(RecomputeModule::moe, "the model has no experts");
      refuse(RecomputeModule::moe_act, "the model has no experts");
    }
    if (!model_.moe || model_.moe->shared_width == 0) {
      refuse(RecomputeModule::shared_experts, "the model has no shared experts");
    }
    if (model_.dense_width == 0) refuse(RecomputeModule::mlp, "the model has no dense layers");

    if (!stage.num_recompute_layers) return;
    const std::int64_t layers = *stage.num_recompute_layers;
    if (layers < 1 || layers > stage.num_layers) {
      add(at + "recompute_layers",
          fmt::format("expected from 1 to {} (layers of the stage), got {}", stage.num_layers, layers));
    }
    if (stage.recompute.empty()) {
      add(at + "recompute_layers", "expected modules to recompute beside it, got none");
    }
  }

  const Model& model_;
  const Strategy& s_;
  const BatchShape& batch_;
  std::int64_t num_devices_;
  std::vector<Violation> out_;
};

}  // namespace

std::vector<Violation> violations(const Model& model, const Strategy& strategy, const BatchShape& batch,
                                  std::int64_t num_devices) {
  CHECK(num_devices >= 1, num_devices);
  return Checker(model, strategy, batch, num_devices).run();
}

}  // namespace orrery
