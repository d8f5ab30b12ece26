// SPDX-License-Identifier: Apache-2.0
#include "base/files.h"
#include "base/json_reader.h"
#include "costmodel/calibration.h"
#include "costmodel/calibration_names.h"
#include "costmodel/calibration_parts.h"
#include "costmodel/factored_shares.h"
#include "program/json_parts.h"
#include "program/names.h"

#include <cmath>

#include <fmt/format.h>

namespace orrery::costmodel {
namespace {

constexpr IntegerRange kCount{.min = 1};

std::string text_of(const JsonValue& value, std::string_view meaning) {
  std::string text = value.string();
  if (value.is_text("")) value.problem(fmt::format("expected {}, got an empty string", meaning));
  return text;
}

std::string source_of(const JsonObject& in) { return text_of(in.required("source"), "where the value comes from"); }

/// The value of a key that must be there and may be null.
template <class Read>
auto known(const JsonObject& in, std::string_view key, Read read) -> std::optional<decltype(read(in.required(key)))> {
  const JsonValue value = in.required(key);
  if (value.is_null()) return std::nullopt;
  return read(value);
}

template <class Q>
std::optional<Sourced<Q>> sourced(const JsonObject& in, std::string_view key) {
  return known(in, key, [](const JsonValue& value) {
    const JsonObject object = value.object();
    Sourced<Q> out{.value = object.required("value").quantity<Q>(), .source = source_of(object)};
    object.finish();
    return out;
  });
}

OpShape read_shape(const std::string& op, DType dtype, const JsonObject& in) {
  const auto count = [&](std::string_view key) { return in.required(key).integer(kCount); };
  // The router stands under its own name, but it has the shape of its product.
  if (op == "gemm" || op == name_of(OpCode::moe_router))
    return GemmShape{.m = count("m"), .n = count("n"), .k = count("k"), .dtype = dtype};
  if (op == "grouped_gemm") {
    const std::int64_t num_groups = count("num_groups");
    return GroupedGemmShape{.rows = {.kind = Rows::Kind::received, .count = num_groups * count("m_per_group")},
                            .num_experts = num_groups,
                            .n = count("n"),
                            .k = count("k"),
                            .dtype = dtype};
  }
  if (op == "attention") {
    const std::int64_t seq = count("seq");
    return AttentionShape{.batch = count("batch"),
                          .heads = count("heads"),
                          .kv_heads = count("kv_heads"),
                          .seq = seq,
                          .kv_seq = seq,
                          .d_qk = count("d_qk"),
                          .d_v = count("d_v"),
                          .causal = in.required("causal").boolean(),
                          .dtype = dtype};
  }
  const Bytes traffic = in.required("bytes").quantity<Bytes>();
  return MemoryShape{.rows = {.count = std::llround(traffic.in(unit::byte))}, .read_per_row = 1};
}

OpPoint read_point(const JsonObject& in) {
  OpPoint point;
  const JsonValue op = in.required("op");
  point.op = op.string();
  const bool is_known = point.op == "gemm" || point.op == "grouped_gemm" || point.op == "attention" ||
                        point.op == "memory" || op_code_of(point.op);
  if (!is_known) {
    op.problem(
        fmt::format("expected gemm, grouped_gemm, attention, memory or the name of an op, got \"{}\"", point.op));
  }
  point.pass = in.required("pass").one_of<Pass>(kMeasuredPasses);
  point.dtype = in.required("dtype").one_of<DType>(kFloatNames);
  if (is_known) {
    const JsonObject shape = in.required("shape").object();
    point.shape = read_shape(point.op, point.dtype, shape);
    shape.finish();
  } else {
    in.ignore("shape");
  }
  point.time = in.required("time").quantity<Seconds>();
  point.spread = known(in, "spread", [](const JsonValue& v) { return v.quantity<Seconds>(Sign::not_negative); });
  point.repeats = known(in, "repeats", [](const JsonValue& v) { return v.integer(kCount); });
  point.source = source_of(in);
  in.finish();
  return point;
}

std::string collective_name(const JsonObject& in) {
  return in.required("op").one_of({"all_reduce", "reduce_scatter", "all_gather", "all_to_all", "send_recv"});
}

std::string path_name(const JsonObject& in) {
  return in.required("path").one_of({kPathNames[0], kPathNames[1], kPathNames[2]});
}

CollectiveMeasurement read_collective(const JsonObject& in) {
  CollectiveMeasurement out{.op = collective_name(in),
                            .path = path_name(in),
                            .ranks = in.required("ranks").integer({.min = 2}),
                            .nodes = in.required("nodes").integer(kCount),
                            .bytes = in.required("bytes").quantity<Bytes>(),
                            .time = in.required("time").quantity<Seconds>(),
                            .source = source_of(in)};
  in.finish();
  return out;
}

Calibration::Conditions read_conditions(const JsonObject& in) {
  Calibration::Conditions out;
  out.power_limit = known(in, "power_limit", [](const JsonValue& v) { return v.quantity<Watts>(); });
  out.clock = known(in, "clock", [](const JsonValue& v) { return v.quantity<Hertz>(); });
  out.input = known(in, "input", [](const JsonValue& v) { return text_of(v, "what the matrices held"); });
  out.active_ranks = in.required("active_ranks").integer(kCount);
  out.threads_per_rank = in.optional("threads_per_rank").integer(kCount);
  if (const auto links = in.optional("links").object()) {
    for (std::string_view path : kPathNames) {
      if (const auto rate = links->optional(path).quantity<BytesPerSecond>()) out.links[std::string(path)] = *rate;
    }
    links->finish();
  }
  in.finish();
  return out;
}

CollectiveFit read_fit(const JsonObject& in) {
  CollectiveFit fit;
  fit.op = collective_name(in);
  fit.path = path_name(in);
  const auto time = [](const JsonValue& v) { return v.quantity<Seconds>(Sign::not_negative); };
  fit.latency = known(in, "latency", time);
  fit.latency_per_peer = known(in, "latency_per_peer", time);
  fit.rate = known(in, "rate", [](const JsonValue& v) { return v.quantity<BytesPerSecond>(); });
  fit.min_ranks = in.required("min_ranks").integer({.min = 2});
  fit.max_ranks = in.required("max_ranks").integer({.min = 2});
  fit.residual = in.required("residual").number({.min = 0.0});
  in.finish();
  return fit;
}

void read_fits(const JsonObject& in, Calibration& calibration) {
  const JsonValue hash = in.required("collectives_sha256");
  for (const JsonValue& fit : in.required("collectives").array()) calibration.fits.push_back(read_fit(fit.object()));
  const std::string expected = collectives_hash(calibration);
  if (hash.string() != expected) {
    hash.problem(fmt::format("expected {} (the hash of this file's collectives), got {}", expected, hash.string()),
                 "the points were changed after the fits were made; set fits to null");
  }
  in.finish();
}

KernelParameters read_kernels(const JsonObject& in) {
  KernelParameters out;
  // Of a peak, a bandwidth or another kernel's rate: nothing reaches more than all of it.
  const auto fraction = [&](std::string_view key, double& value) {
    value = in.required(key).number({.min = 1e-3, .max = 1.0});
  };
  const auto traffic = [&](std::string_view key, double& value) {
    value = in.required(key).number({.min = 1e-3, .max = 1e3});
  };
  fraction("matmul", out.matmul);
  fraction("matmul_fp8", out.matmul_fp8);
  fraction("grouped", out.grouped);
  out.ramp = in.required("ramp").number({.min = 0.0});
  fraction("attention_forward", out.attention_forward);
  fraction("attention_backward", out.attention_backward);
  out.exponentials = in.optional("exponentials").number({.min = 1e-3}).value_or(out.exponentials);
  fraction("memory", out.memory);
  out.kernel = in.required("kernel").quantity<Seconds>(Sign::not_negative);
  out.expert = in.optional("expert").quantity<Seconds>(Sign::not_negative).value_or(Seconds::zero());
  out.dispatch = in.required("dispatch").quantity<Seconds>(Sign::not_negative);
  fraction("network", out.network);
  fraction("fp8_blocks", out.fp8_blocks);
  fraction("flash_2", out.flash_2);
  out.taken = in.required("taken").number({.min = 0.0});
  out.exchange_holds = in.optional("exchange_holds").number({.min = 1.0});
  out.attention = in.required("attention").one_of<AttentionKernels>(kAttentionNames);
  traffic("loss_forward", out.loss_forward);
  traffic("loss_backward", out.loss_backward);
  out.tf32 = in.optional("tf32").boolean().value_or(false);
  out.fused_experts = in.optional("fused_experts").boolean().value_or(false);
  out.separate_biases = in.optional("separate_biases").boolean().value_or(false);
  out.sorts_arrivals = in.optional("sorts_arrivals").boolean().value_or(false);
  out.weight_gradients = in.optional("weight_gradients").boolean().value_or(true);
  out.source = source_of(in);
  in.finish();
  return out;
}

/// No factor of training takes what kernels reach above what the hardware gives.
void check_factors(const JsonObject& in, const Knobs& factors, const KernelParameters& kernels) {
  constexpr double kRounding = 1e-3;  // factors have four digits
  const Knobs possible = without_excess(kernels, factors);
  for (std::size_t k = 0; k < kNumKnobs; ++k) {
    if (factors[k] <= possible[k] + kRounding) continue;
    in.required(kKnobNames[k])
        .problem(
            fmt::format("expected a factor of at most {:.4g}, with which kernels reach all that the hardware gives, "
                        "got {:.4g}",
                        std::exp(possible[k]), std::exp(factors[k])));
  }
}

KernelResidual read_residual(const JsonObject& in) {
  const auto errors = [&](std::string_view key) {
    const JsonObject object = in.required(key).object();
    const KernelResidual::Errors out{.median = object.required("median").number({.min = 0.0}),
                                     .worst = object.required("worst").number()};
    object.finish();
    return out;
  };
  KernelResidual out{.op = text_of(in.required("op"), "the name of an op"),
                     .pass = in.required("pass").one_of<Pass>(kMeasuredPasses),
                     .dtype = in.required("dtype").one_of<DType>(kFloatNames),
                     .num_points = in.required("points").integer(kCount),
                     .form = errors("form"),
                     .left_out = errors("left_out")};
  in.finish();
  return out;
}

StepResidual read_step_residual(const JsonObject& in) {
  StepResidual out{.run = text_of(in.required("run"), "what was run"),
                   .predicted = in.required("predicted").quantity<Seconds>(),
                   .measured = {}};
  for (const JsonValue& time : in.required("measured").array()) out.measured.push_back(time.quantity<Seconds>());
  in.finish();
  return out;
}

Calibration read(const JsonObject& in) {
  in.schema("calibration/1");
  Calibration out;
  const JsonValue device = in.required("device");
  if (device.kind() == JsonKind::object) {
    out.device = read_device(device.object());
  } else {
    out.device_name = text_of(device, "the name of a device");
    out.device = out.device_name;
  }
  out.driver = known(in, "driver", [](const JsonValue& v) { return text_of(v, "a version"); });
  out.software = text_of(in.required("software"), "the libraries that were timed");
  out.conditions = read_conditions(in.required("conditions").object());
  for (const JsonValue& point : in.required("points").array()) out.points.push_back(read_point(point.object()));
  for (const JsonValue& point : in.required("collectives").array()) {
    out.collectives.push_back(read_collective(point.object()));
  }
  known(in, "launch", [&](const JsonValue& v) {
    const JsonObject launch = v.object();
    out.launch_gap = sourced<Seconds>(launch, "gap");
    out.launch_dispatch = sourced<Seconds>(launch, "dispatch");
    launch.finish();
    return true;
  });
  known(in, "power", [&](const JsonValue& v) {
    const JsonObject power = v.object();
    out.idle_power = sourced<Watts>(power, "idle");
    out.waiting_power = sourced<Watts>(power, "waiting");
    out.products_power = sourced<Watts>(power, "products");
    out.streaming_power = sourced<Watts>(power, "streaming");
    out.communication_power = sourced<Watts>(power, "communication");
    out.power_limit = sourced<Watts>(power, "limit");
    power.finish();
    return true;
  });
  if (const JsonValue fits = in.required("fits"); !fits.is_null()) read_fits(fits.object(), out);
  if (const auto kernels = in.optional("kernels").object()) out.kernels = read_kernels(*kernels);
  if (const auto factors = in.optional("factors").object()) {
    out.factors = read_knobs(*factors);
    if (out.kernels) check_factors(*factors, *out.factors, *out.kernels);
  }
  for (const JsonValue& of : in.optional("residuals").array().value_or(std::vector<JsonValue>())) {
    out.residuals.push_back(read_residual(of.object()));
  }
  for (const JsonValue& of : in.optional("step_residuals").array().value_or(std::vector<JsonValue>())) {
    out.step_residuals.push_back(read_step_residual(of.object()));
  }
  if (const auto interval = in.optional("interval").object()) out.interval = read_interval(*interval);
  if (const auto of_moe = in.optional("interval_moe").object()) out.interval_moe = read_interval(*of_moe);
  in.finish();
  return out;
}

}  // namespace

Calibration read_calibration_text(const std::string& text, const std::string& file) {
  JsonDocument document = JsonDocument::parse_text(text, file);
  Calibration calibration = read(document.root());
  document.throw_if_problems();
  return calibration;
}

Calibration read_calibration(const std::filesystem::path& path) {
  return read_calibration_text(read_file(path.string()), path.string());
}

}  // namespace orrery::costmodel
