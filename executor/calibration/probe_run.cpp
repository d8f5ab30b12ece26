// SPDX-License-Identifier: Apache-2.0
#include "executor/calibration/probe_run.h"

#include "base/check.h"
#include "executor/calibration/agreement.h"
#include "executor/runtime/rank_runtime.h"
#include "program/lower.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

namespace orrery::executor {
namespace {

constexpr int kMaxSteps = 20;  // more would not change a median

double seconds_since(Instant start) { return std::chrono::duration<double>(now() - start).count(); }

/// Name and nccl-tests' size of a communication among `ranks`. Nothing for a ring shift: a calibration has no name for
/// a send and a receive at once.
std::optional<std::pair<std::string, std::int64_t>> named_collective(const OpShape& shape, std::int64_t ranks) {
  if (const auto* exchange = std::get_if<ExchangeShape>(&shape)) {
    return {{"all_to_all", exchange->rows.count * exchange->row_bytes + ranks * exchange->count_bytes}};
  }
  const CollectiveShape& collective = std::get<CollectiveShape>(shape);
  if (collective.kind == CollectiveKind::ring_shift) return std::nullopt;
  return {{std::string(name_of(collective.kind)), collective.bytes + collective.rows.count * collective.row_bytes}};
}

/// A point of attention says one length, so what a part of the queries takes with other keys cannot stand in a table.
bool has_point(const OpShape& shape) {
  const auto* attention = std::get_if<AttentionShape>(&shape);
  return attention == nullptr || attention->kv_seq == attention->seq;
}

/// Whether the op is the first that adds gradients to those of its unit under ZeRO 2 and 3. The unit's tensor is filled
/// with zeros for it, which its shape does not say and so no point of it may.
bool starts_bucket(const RankClass& rank_class, OpIndex op) {
  return std::ranges::any_of(rank_class.uses_of(op), [&](const TensorUse& use) {
    const TensorRole role = rank_class.tensors[use.tensor()].role;
    return use.access() == Access::create &&
           (role == TensorRole::grad_bucket || role == TensorRole::expert_grad_bucket);
  });
}

class Collector {
 public:
  Collector(const Probe& probe, const RankState& rank) : probe_(probe), rank_(rank) {
    const std::vector<Op>& ops = rank.rank_class.ops;
    for (OpIndex i = 0; i < ops.size(); ++i) {
      shapes_[ops[i].key] = ops[i].shape;
      if (starts_bucket(rank.rank_class, i)) starts_bucket_.insert(ops[i].key);
    }
  }

  void add(const RankRuntime::Step& step) {
    steps_.push_back(step.record.time.in(unit::second));
    const std::span<const Span> spans = step.spans;
    for (std::size_t i = 0; i < spans.size(); ++i) {
      const Span& span = spans[i];
      if (!is_measured(probe_, span.key.pass)) continue;
      const ShapeId shape = shapes_.at(span.key);
      if (span.queue != Queue::compute) {
        add_collective(span, shape);
        continue;
      }
      const Pass pass = span.key.pass == Pass::rec ? Pass::fwd : span.key.pass;
      if (has_point(rank_.program.shapes[shape]) && !starts_bucket_.contains(span.key)) {
        ops_[{span.key.op, pass, shape}].push_back(span.duration().in(unit::second));
      }
      const bool has_next = i + 1 < spans.size() && spans[i + 1].queue == Queue::compute;
      if (has_next) gaps_.push_back((spans[i + 1].ready - span.end).in(unit::second));
    }
  }

  RankSamples samples() const {
    RankSamples out;
    for (const auto& [place, times] : ops_) {
      const auto& [op, pass, shape] = place;
      out.ops.push_back({.op = op, .pass = pass, .shape = shape, .seconds = times});
    }
    for (const auto& [place, times] : collectives_) {
      const auto& [op, ranks, size] = place;
      out.collectives.push_back({.op = op, .ranks = ranks, .bytes = size, .seconds = times});
    }
    out.gaps = gaps_;
    out.steps = steps_;
    return out;
  }

 private:
  /// A collective takes from when its last member came to it, which all members tell each other now.
  void add_collective(const Span& span, ShapeId shape) {
    Communicator& group = rank_.groups.of(group_of(rank_.program.shapes[shape]).value());
    if (group.size() == 1) return;
    const double ready = span.ready.in(unit::second);
    std::vector<double> all(static_cast<std::size_t>(group.size()));
    group.all_gather(std::as_bytes(std::span(&ready, 1)), std::as_writable_bytes(std::span(all)), "calibration");
    const auto named = named_collective(rank_.program.shapes[shape], group.size());
    if (!named) return;
    const double last = *std::max_element(all.begin(), all.end());
    collectives_[{named->first, group.size(), named->second}].push_back(span.end.in(unit::second)-last);
  }

  const Probe& probe_;
  const RankState& rank_;
  std::map<OpKey, ShapeId> shapes_;
  std::set<OpKey> starts_bucket_;
  std::map<std::tuple<OpCode, Pass, ShapeId>, std::vector<double>> ops_;
  std::map<std::tuple<std::string, std::int64_t, std::int64_t>, std::vector<double>> collectives_;
  std::vector<double> gaps_;
  std::vector<double> steps_;
};

}  // namespace

RankSamples run_probe(Endpoint& endpoint, const Probe& probe, Seconds max_time, const std::string& gemm,
                      const std::function<void(const OpCall&)>& observer) {
  const StepProgram program = lower(probe.model, probe.strategy, probe.batch, endpoint.size());
  TrainingSettings settings;
  settings.gemm = gemm;
  settings.balanced_routing = true;
  const Instant start = now();
  RankRuntime runtime(program, RankId(endpoint.rank()), endpoint, settings);
  runtime.observe(observer);
  runtime.run_step();
  Collector collector(probe, runtime.state());
  int done = 1;
  bool more = true;
  do {
    collector.add(runtime.run_step());
    ++done;
    // The next step takes about as long as those before it.
    const bool has_time = seconds_since(start) * (1.0 + 1.0 / done) < max_time.in(unit::second);
    more = done <= kMaxSteps && as_rank_0_says(runtime.state().groups.world(), has_time);
  } while (more);
  return collector.samples();
}

}  // namespace orrery::executor
