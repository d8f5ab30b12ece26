// SPDX-License-Identifier: Apache-2.0
#include "executor/calibration/sample_table.h"

#include "base/median.h"

#include <cmath>

namespace orrery::executor {
namespace {

constexpr const char* kSource = "measured by orrery calibrate";

void append(std::vector<double>& all, const std::vector<double>& more) {
  all.insert(all.end(), more.begin(), more.end());
}

double median_deviation(std::vector<double> samples, double middle) {
  for (double& x : samples) x = std::abs(x - middle);
  return median(std::move(samples));
}

}  // namespace

std::string point_name(OpCode op, const OpShape& shape) {
  if (std::holds_alternative<GemmShape>(shape) && op != OpCode::moe_router) return "gemm";
  if (std::holds_alternative<GroupedGemmShape>(shape)) return "grouped_gemm";
  if (std::holds_alternative<AttentionShape>(shape)) return "attention";
  return std::string(name_of(op));
}

void SampleTable::add(const StepProgram& program, const RankSamples& samples) {
  for (const OpSamples& op : samples.ops) {
    const OpShape& shape = program.shapes.at(op.shape);
    DType dtype = program.strategy.precision;
    if (const auto* gemm = std::get_if<GemmShape>(&shape)) dtype = gemm->dtype;
    append(ops_[{point_name(op.op, shape), op.pass, dtype, shape}], op.seconds);
  }
  append(gaps_, samples.gaps);
  add_collectives(samples);
}

void SampleTable::add_collectives(const RankSamples& samples) {
  for (const CollectiveSamples& collective : samples.collectives) {
    append(collectives_[{collective.op, collective.ranks, collective.bytes}], collective.seconds);
  }
}

void SampleTable::write_to(Measurements& out) const {
  for (const auto& [place, samples] : ops_) {
    const auto& [op, pass, dtype, shape] = place;
    const double middle = median(samples);
    out.ops.push_back({.op = op,
                       .pass = pass,
                       .dtype = dtype,
                       .shape = shape,
                       .time = seconds(middle),
                       .spread = seconds(median_deviation(samples, middle)),
                       .repeats = static_cast<std::int64_t>(samples.size()),
                       .source = kSource});
  }
  for (const auto& [place, samples] : collectives_) {
    const auto& [op, ranks, size] = place;
    out.collectives.push_back({.op = op,
                               .path = "node",
                               .ranks = ranks,
                               .bytes = bytes(static_cast<double>(size)),
                               .time = seconds(median(samples)),
                               .source = kSource});
  }
  if (!gaps_.empty()) out.launch = seconds(median(gaps_));
}

}  // namespace orrery::executor
