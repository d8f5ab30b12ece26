// SPDX-License-Identifier: Apache-2.0
#include "executor/calibration/sample_table.h"

#include "base/median.h"

#include <cmath>
#include <numeric>
#include <set>

namespace orrery::executor {
namespace {

constexpr const char* kSource = "orrery calibrate";

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
  add_ops(program, samples);
  add_collectives(samples);
}

void SampleTable::add_ops(const StepProgram& program, const RankSamples& samples) {
  for (const OpSamples& op : samples.ops) {
    const OpShape& shape = program.shapes.at(op.shape);
    DType dtype = program.strategy.precision;
    if (const auto* gemm = std::get_if<GemmShape>(&shape)) dtype = gemm->dtype;
    Op& known = ops_[kind_of(point_name(op.op, shape), op.pass, dtype, shape)];
    known.shape = shape;
    append(known.samples, op.seconds);
  }
  append(gaps_, samples.gaps);
}

void SampleTable::add_collectives(const RankSamples& samples,
                                  const std::function<std::int64_t(const CollectiveSamples&)>& nodes_of) {
  for (const CollectiveSamples& collective : samples.collectives) {
    const std::int64_t nodes = nodes_of(collective);
    if (nodes == 0) continue;
    append(collectives_[{collective.op, collective.ranks, nodes, collective.bytes}], collective.seconds);
  }
}

/// A cost model knows an op that is limited by memory by its traffic alone.
SampleTable::OpKind SampleTable::kind_of(const std::string& op, Pass pass, DType dtype, const OpShape& shape) {
  const auto* memory = std::get_if<MemoryShape>(&shape);
  if (!memory) return {op, pass, dtype, shape};
  const std::int64_t traffic = memory->rows.count * (memory->read_per_row + memory->written_per_row);
  return {op, pass, dtype, MemoryShape{.rows = {.count = traffic}, .read_per_row = 1}};
}

double SampleTable::average_of(const std::vector<double>& samples) const {
  if (average_ == Average::median) return median(samples);
  return std::accumulate(samples.begin(), samples.end(), 0.0) / static_cast<double>(samples.size());
}

void SampleTable::write_to(Measurements& out) const {
  std::set<OpKind> known_ops;
  for (const OpMeasurement& point : out.ops) known_ops.insert(kind_of(point.op, point.pass, point.dtype, point.shape));
  for (const auto& [kind, measured] : ops_) {
    if (known_ops.contains(kind)) continue;
    const std::vector<double>& samples = measured.samples;
    const double middle = average_of(samples);
    out.ops.push_back({.op = std::get<std::string>(kind),
                       .pass = std::get<Pass>(kind),
                       .dtype = std::get<DType>(kind),
                       .shape = measured.shape,
                       .time = seconds(middle),
                       .spread = seconds(median_deviation(samples, middle)),
                       .repeats = static_cast<std::int64_t>(samples.size()),
                       .source = kSource});
  }
  std::set<CollectiveId> known_collectives;
  for (const CollectiveMeasurement& point : out.collectives) {
    known_collectives.insert({point.op, point.ranks, point.nodes, std::llround(point.bytes.in(unit::byte))});
  }
  for (const auto& [kind, samples] : collectives_) {
    if (known_collectives.contains(kind)) continue;
    const auto& [op, ranks, nodes, size] = kind;
    out.collectives.push_back({.op = op,
                               .path = nodes == 1 ? "node" : "rail",
                               .ranks = ranks,
                               .nodes = nodes,
                               .bytes = bytes(static_cast<double>(size)),
                               .time = seconds(average_of(samples)),
                               .source = kSource});
  }
  if (!gaps_.empty() && out.launch == Seconds::zero()) out.launch = seconds(average_of(gaps_));
}

}  // namespace orrery::executor
