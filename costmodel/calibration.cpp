// SPDX-License-Identifier: Apache-2.0
#include "costmodel/calibration.h"

#include "base/json_writer.h"
#include "base/sha256.h"
#include "costmodel/calibration_names.h"
#include "costmodel/calibration_parts.h"
#include "costmodel/collective_fit.h"
#include "program/json_parts.h"
#include "program/names.h"

#include <utility>

namespace orrery::costmodel {
namespace {

template <class T>
void write_known(JsonWriter& out, std::string_view key, const std::optional<T>& value) {
  out.key(key);
  if (value) {
    out.value(*value);
  } else {
    out.null();
  }
}

template <class Q>
void write_sourced(JsonWriter& out, std::string_view key, const std::optional<Sourced<Q>>& value) {
  out.key(key);
  if (value) {
    out.begin_object().field("value", value->value).field("source", value->source).end_object();
  } else {
    out.null();
  }
}

void write_shape(JsonWriter& out, const OpShape& shape) {
  out.key("shape").begin_object();
  if (const auto* gemm = std::get_if<GemmShape>(&shape)) {
    out.field("m", gemm->m).field("n", gemm->n).field("k", gemm->k);
  } else if (const auto* grouped = std::get_if<GroupedGemmShape>(&shape)) {
    out.field("num_groups", grouped->num_experts).field("m_per_group", grouped->rows.count / grouped->num_experts);
    out.field("n", grouped->n).field("k", grouped->k);
  } else if (const auto* attention = std::get_if<AttentionShape>(&shape)) {
    out.field("batch", attention->batch).field("heads", attention->heads).field("kv_heads", attention->kv_heads);
    out.field("seq", attention->seq).field("d_qk", attention->d_qk).field("d_v", attention->d_v);
    out.field("causal", attention->causal);
  } else {
    const MemoryShape& memory = std::get<MemoryShape>(shape);
    out.field("bytes", bytes(static_cast<double>(memory.rows.count)));
  }
  out.end_object();
}

void write_point(JsonWriter& out, const OpPoint& point) {
  out.begin_object().field("op", point.op).field("pass", name_of(kMeasuredPasses, point.pass));
  out.field("dtype", name_of(point.dtype));
  write_shape(out, point.shape);
  out.field("time", point.time);
  write_known(out, "spread", point.spread);
  write_known(out, "repeats", point.repeats);
  out.field("source", point.source).end_object();
}

void write_collectives(JsonWriter& out, const std::vector<CollectiveMeasurement>& collectives) {
  out.begin_array();
  for (const CollectiveMeasurement& point : collectives) {
    out.begin_object().field("op", point.op).field("path", point.path).field("ranks", point.ranks);
    out.field("nodes", point.nodes).field("bytes", point.bytes).field("time", point.time);
    out.field("source", point.source).end_object();
  }
  out.end_array();
}

void write_conditions(JsonWriter& out, const Calibration::Conditions& conditions) {
  out.key("conditions").begin_object();
  write_known(out, "power_limit", conditions.power_limit);
  write_known(out, "clock", conditions.clock);
  write_known(out, "input", conditions.input);
  out.field("active_ranks", conditions.active_ranks);
  if (conditions.threads_per_rank) out.field("threads_per_rank", *conditions.threads_per_rank);
  if (!conditions.links.empty()) {
    out.key("links").begin_object();
    for (const auto& [path, rate] : conditions.links) out.field(path, rate);
    out.end_object();
  }
  out.end_object();
}

void write_fits(JsonWriter& out, const Calibration& calibration) {
  out.key("fits");
  if (calibration.fits.empty()) {
    out.null();
    return;
  }
  out.begin_object().field("collectives_sha256", collectives_hash(calibration)).key("collectives").begin_array();
  for (const CollectiveFit& fit : calibration.fits) {
    out.begin_object().field("op", fit.op).field("path", fit.path);
    write_known(out, "latency", fit.latency);
    write_known(out, "latency_per_peer", fit.latency_per_peer);
    write_known(out, "rate", fit.rate);
    out.field("min_ranks", fit.min_ranks).field("max_ranks", fit.max_ranks).field("residual", fit.residual);
    out.end_object();
  }
  out.end_array().end_object();
}

void write_kernels(JsonWriter& out, const KernelParameters& kernels) {
  out.key("kernels").begin_object();
  out.field("matmul", kernels.matmul).field("matmul_fp8", kernels.matmul_fp8).field("grouped", kernels.grouped);
  out.field("ramp", kernels.ramp);
  if (kernels.expert > Seconds::zero()) out.field("expert", kernels.expert);
  out.field("attention_forward", kernels.attention_forward).field("attention_backward", kernels.attention_backward);
  out.field("exponentials", kernels.exponentials);
  out.field("memory", kernels.memory).field("kernel", kernels.kernel).field("dispatch", kernels.dispatch);
  out.field("network", kernels.network).field("fp8_blocks", kernels.fp8_blocks).field("flash_2", kernels.flash_2);
  out.field("taken", kernels.taken);
  if (kernels.exchange_holds) out.field("exchange_holds", *kernels.exchange_holds);
  out.field("attention", name_of(kAttentionNames, kernels.attention));
  out.field("loss_forward", kernels.loss_forward).field("loss_backward", kernels.loss_backward);
  if (kernels.tf32) out.field("tf32", true);
  if (kernels.fused_experts) out.field("fused_experts", true);
  if (kernels.separate_biases) out.field("separate_biases", true);
  if (kernels.sorts_arrivals) out.field("sorts_arrivals", true);
  if (!kernels.weight_gradients) out.field("weight_gradients", false);
  out.field("source", kernels.source).end_object();
}

void write_residuals(JsonWriter& out, const std::vector<KernelResidual>& residuals) {
  const auto write_errors = [&](std::string_view key, const KernelResidual::Errors& errors) {
    out.key(key).begin_object().field("median", rounded_factor(errors.median));
    out.field("worst", rounded_factor(errors.worst)).end_object();
  };
  out.key("residuals").begin_array();
  for (const KernelResidual& of : residuals) {
    out.begin_object().field("op", of.op).field("pass", name_of(kMeasuredPasses, of.pass));
    out.field("dtype", name_of(of.dtype)).field("points", of.num_points);
    write_errors("form", of.form);
    write_errors("left_out", of.left_out);
    out.end_object();
  }
  out.end_array();
}

void write_step_residuals(JsonWriter& out, const std::vector<StepResidual>& residuals) {
  out.key("step_residuals").begin_array();
  for (const StepResidual& of : residuals) {
    out.begin_object().field("run", of.run).field("predicted", of.predicted).key("measured").begin_array();
    for (const Seconds measured : of.measured) out.value(measured);
    out.end_array().end_object();
  }
  out.end_array();
}

/// A memory-bound op as one byte per row.
OpShape normalized(const OpMeasurement& measurement) {
  const auto* memory = std::get_if<MemoryShape>(&measurement.shape);
  if (!memory) return measurement.shape;
  return MemoryShape{.rows = {.count = memory->rows.count * (memory->read_per_row + memory->written_per_row)},
                     .read_per_row = 1};
}

}  // namespace

std::optional<KernelParameters> kernels_in_training(const Calibration& calibration) {
  if (!calibration.kernels || !calibration.factors) return calibration.kernels;
  return with_knobs(*calibration.kernels, *calibration.factors);
}

std::string to_json(const Calibration& calibration) {
  JsonWriter out;
  out.begin_object().field("schema", "calibration/1").key("device");
  if (const auto* name = std::get_if<std::string>(&calibration.device)) {
    out.value(*name);
  } else {
    write_device(out, std::get<Device>(calibration.device));
  }
  write_known(out, "driver", calibration.driver);
  out.field("software", calibration.software);
  write_conditions(out, calibration.conditions);
  out.key("points").begin_array();
  for (const OpPoint& point : calibration.points) write_point(out, point);
  out.end_array().key("collectives");
  write_collectives(out, calibration.collectives);
  out.key("launch");
  if (calibration.launch_gap || calibration.launch_dispatch) {
    out.begin_object();
    write_sourced(out, "gap", calibration.launch_gap);
    write_sourced(out, "dispatch", calibration.launch_dispatch);
    out.end_object();
  } else {
    out.null();
  }
  out.key("power");
  const auto& c = calibration;
  if (c.idle_power || c.waiting_power || c.products_power || c.streaming_power || c.communication_power ||
      c.power_limit) {
    out.begin_object();
    write_sourced(out, "idle", c.idle_power);
    write_sourced(out, "waiting", c.waiting_power);
    write_sourced(out, "products", c.products_power);
    write_sourced(out, "streaming", c.streaming_power);
    write_sourced(out, "communication", c.communication_power);
    write_sourced(out, "limit", c.power_limit);
    out.end_object();
  } else {
    out.null();
  }
  write_fits(out, calibration);
  if (calibration.kernels) write_kernels(out, *calibration.kernels);
  if (!calibration.residuals.empty()) write_residuals(out, calibration.residuals);
  if (calibration.factors) write(out.key("factors"), *calibration.factors);
  if (!calibration.step_residuals.empty()) write_step_residuals(out, calibration.step_residuals);
  if (calibration.interval) write(out.key("interval"), *calibration.interval);
  if (calibration.interval_moe) write(out.key("interval_moe"), *calibration.interval_moe);
  out.end_object();
  return out.text();
}

Calibration calibration_of(const Measurements& measurements) {
  Calibration out;
  out.device = measurements.device;
  out.software = measurements.software;
  out.conditions.input = measurements.conditions.input;
  out.conditions.active_ranks = measurements.conditions.active_ranks;
  out.conditions.threads_per_rank = measurements.conditions.threads_per_rank;
  for (const OpMeasurement& measured : measurements.ops) {
    out.points.push_back({.op = measured.op,
                          .pass = measured.pass,
                          .dtype = measured.dtype,
                          .shape = normalized(measured),
                          .time = measured.time,
                          .spread = measured.spread,
                          .repeats = measured.repeats,
                          .source = measured.source});
  }
  if (measurements.launch > Seconds::zero()) {
    out.launch_gap = {.value = measurements.launch, .source = "median time from the end of an op to the next"};
  }
  out.collectives = measurements.collectives;
  out.fits = fitted(out.collectives);
  return out;
}

std::string collectives_hash(const Calibration& calibration) {
  JsonWriter out(JsonWriter::Layout::line);
  write_collectives(out, calibration.collectives);
  return sha256_hex(out.text());
}

}  // namespace orrery::costmodel
