// SPDX-License-Identifier: Apache-2.0
#include "program/not_lowered.h"

#include "program/names.h"
#include "program/schedule.h"

#include <fmt/format.h>

namespace orrery {
namespace {

class Collector {
 public:
  template <class T>
  void expect(const char* key, const T& expected, const T& got, std::string_view what) {
    if (got == expected) return;
    add(key, fmt::format("{}", expected), fmt::format("{}", got), what);
  }

  /// The same for a value that files write as a name.
  template <class E, std::size_t N>
  void expect_name(const char* key, const Named<E> (&names)[N], E expected, E got, std::string_view what) {
    if (got == expected) return;
    add(key, fmt::format("\"{}\"", name_of(names, expected)), fmt::format("\"{}\"", name_of(names, got)), what);
  }

  void add(const char* key, std::string_view expected, std::string_view got, std::string_view what) {
    out_.push_back({.key = key,
                    .expected = fmt::format("expected {}, got {}: {} not lowered yet", expected, got, what),
                    .hint = ""});
  }

  std::vector<Violation> take() { return std::move(out_); }

 private:
  std::vector<Violation> out_;
};

void check_schedule(Collector& out, Schedule schedule) {
  if (is_lowered(schedule)) return;
  std::string lowered;
  for (const auto& [name, value] : kScheduleNames) {
    if (is_lowered(value)) lowered += fmt::format("{}\"{}\"", lowered.empty() ? "" : " or ", name);
  }
  out.add("schedule", lowered, fmt::format("\"{}\"", name_of(schedule)), "the other schedules are");
}

void check_zero(Collector& out, const char* key, int stage) {
  if (stage > 1) out.add(key, "0 or 1", fmt::format("{}", stage), "sharded gradients and weights are");
}

// What the lowered ops would get wrong. Biases, sinks, LayerNorm and learned positions change no product, and their
// weights are counted; so they are lowered as part of the ops that they belong to.
void check_model(Collector& out, const Model& model) {
  for (std::int64_t layer = 0; layer < model.num_layers(); ++layer) {
    const AttentionSpan span = model.span(layer);
    if (span.is_full()) continue;
    out.add("model", "attention over the whole sequence",
            fmt::format("a {} of {} tokens in layer {}", span.chunked ? "chunk" : "window", span.window, layer),
            "shorter spans are");
    break;
  }
  if (!model.gated) out.add("model", "a gated feed-forward", "one without a gate", "the other is");
}

}  // namespace

std::vector<Violation> not_lowered(const Model& model, const Strategy& s) {
  constexpr std::int64_t kOne = 1;
  Collector out;
  check_model(out, model);
  out.expect("tp", kOne, s.tp, "tensor parallelism is");
  out.expect("cp", kOne, s.cp, "context parallelism is");
  out.expect("etp", kOne, s.etp, "tensor parallelism of experts is");
  out.expect("vpp", kOne, s.vpp, "virtual stages are");
  out.expect("num_optimizer_instances", kOne, s.num_optimizer_instances, "hybrid sharding is");
  check_zero(out, "zero_dense", s.zero_dense);
  check_zero(out, "zero_expert", s.zero_expert);
  check_schedule(out, s.schedule);
  out.expect_name("dispatcher", kDispatcherNames, Dispatcher::all_to_all, s.dispatcher, "other dispatchers are");
  if (s.capacity_factor) {
    out.add("capacity_factor", "null", fmt::format("{}", *s.capacity_factor), "dropping tokens is");
  }
  out.expect("overlap/dp_buckets", false, s.overlap.dp_buckets, "overlap of gradient buckets is");
  out.expect("overlap/tp", false, s.overlap.tp, "overlap of tensor parallelism is");
  out.expect("overlap/ep_batch_level", false, s.overlap.ep_batch_level, "overlap of micro-batches is");
  out.expect("overlap/delayed_wgrad", false, s.overlap.delayed_wgrad, "delaying weight gradients is");
  out.expect("overlap/shared_expert", false, s.overlap.shared_expert, "overlap of the shared expert is");
  out.expect("cuda_graphs", false, s.cuda_graphs, "CUDA graphs are");
  out.expect("offload_optimizer", false, s.offload_optimizer, "offload is");
  out.expect("offload_activations", false, s.offload_activations, "offload is");
  if (s.precision == DType::fp8) out.add("precision", "\"f32\" or \"bf16\"", "\"fp8\"", "fp8 is");
  out.expect_name("optimizer", kOptimizerNames, OptimizerKind::adamw, s.optimizer, "Muon is");
  out.expect_name("master_dtype", kFloatNames, DType::f32, s.master_dtype, "other types of master weights are");
  out.expect_name("moment_dtype", kFloatNames, DType::f32, s.moment_dtype, "other types of moments are");
  out.expect_name("grad_dtype", kFloatNames, DType::f32, s.grad_dtype, "other types of gradients are");
  out.expect_name("grad_wire_dtype", kFloatNames, DType::f32, s.grad_wire_dtype,
                  "other types of gradient messages are");
  out.expect_name("mtp", kMtpNames, Mtp::off, s.mtp, "multi-token prediction is");
  if (s.order != Strategy().order) {
    out.add("order", fmt::format("\"{}\"", Strategy().order), fmt::format("\"{}\"", s.order), "other rank orders are");
  }
  if (model.tied_embeddings && s.pp > 1) {
    out.add("pp", "1", fmt::format("{}", s.pp), "a head tied to the embedding of another stage is");
  }
  return out.take();
}

}  // namespace orrery
