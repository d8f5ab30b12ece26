// SPDX-License-Identifier: Apache-2.0
#include "traces/compare.h"

#include "base/median.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <utility>

#include <fmt/format.h>

namespace orrery {
namespace {

constexpr std::size_t kMostUnmatchedNames = 5;

/// Time of one op of one rank: medians over the steps that count.
struct OpTime {
  std::int32_t rank = 0;
  OpKey key;
  Queue queue = Queue::compute;
  Seconds work, wait;

  auto name() const { return std::pair(rank, key); }
};

using OpClass = std::pair<OpCode, Pass>;

/// Ops of the ranks in `ranks`, in the order of their names.
std::vector<OpTime> op_times(const Trace& trace, const std::vector<StepRecord>& steps,
                             const std::set<std::int32_t>& ranks) {
  const Spans& spans = trace.spans;
  std::set<std::int32_t> counted;
  for (const StepRecord& step : steps) counted.insert(step.step);
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < spans.size(); ++i) {
    if (counted.contains(spans.step()[i]) && ranks.contains(spans.rank()[i])) order.push_back(i);
  }
  const auto name = [&](std::size_t i) { return std::pair(spans.rank()[i], spans.key()[i]); };
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return name(a) < name(b); });
  std::vector<OpTime> ops;
  std::vector<Seconds> work, wait;
  for (std::size_t i = 0; i < order.size(); ++i) {
    const Span span = spans.at(order[i]);
    work.push_back(span.duration());
    wait.push_back(span.wait());
    if (i + 1 < order.size() && name(order[i + 1]) == name(order[i])) continue;
    ops.push_back({span.rank, span.key, span.queue, median(std::exchange(work, {})), median(std::exchange(wait, {}))});
  }
  return ops;
}

void add_unmatched(UnmatchedOps& unmatched, const OpTime& op) {
  ++unmatched.count;
  if (unmatched.first.size() < kMostUnmatchedNames) {
    unmatched.first.push_back(fmt::format("rank {} {}", op.rank, to_string(op.key)));
  }
}

/// Collects the pairs of ops of one class.
struct ClassSums {
  OpClassComparison sums;
  std::vector<double> errors;
};

class Join {
 public:
  explicit Join(Comparison& comparison) : comparison_(comparison) {}

  void run(const std::vector<OpTime>& predicted, const std::vector<OpTime>& measured) {
    auto p = predicted.begin();
    auto m = measured.begin();
    while (p != predicted.end() || m != measured.end()) {
      if (m == measured.end() || (p != predicted.end() && p->name() < m->name())) {
        add_unmatched(comparison_.only_predicted, *p++);
      } else if (p == predicted.end() || m->name() < p->name()) {
        add_unmatched(comparison_.only_measured, *m++);
      } else {
        add_pair(*p++, *m++);
      }
    }
    for (auto& [name, sums] : classes_) {
      OpClassComparison& found = comparison_.classes.emplace_back(sums.sums);
      found.op = name.first;
      found.pass = name.second;
      found.median_error = sums.errors.empty() ? std::numeric_limits<double>::quiet_NaN() : median(sums.errors);
    }
    std::stable_sort(comparison_.classes.begin(), comparison_.classes.end(),
                     [](const auto& a, const auto& b) { return a.time.measured > b.time.measured; });
  }

 private:
  void add_pair(const OpTime& predicted, const OpTime& measured) {
    ++comparison_.num_ops_compared;
    ClassSums& sums = classes_[{predicted.key.op, predicted.key.pass}];
    ++sums.sums.num_ops;
    sums.sums.time.predicted += predicted.work;
    sums.sums.time.measured += measured.work;
    const double error = ComparedTime{predicted.work, measured.work}.error();
    if (!std::isnan(error)) sums.errors.push_back(std::abs(error));
  }

  Comparison& comparison_;
  std::map<OpClass, ClassSums> classes_;
};

std::vector<QueueComparison> queue_times(const std::vector<OpTime>& predicted, const std::vector<OpTime>& measured,
                                         std::size_t num_ranks) {
  std::map<Queue, QueueComparison> queues;
  const double share = 1.0 / static_cast<double>(std::max<std::size_t>(num_ranks, 1));
  const auto add = [&](const std::vector<OpTime>& ops, Seconds ComparedTime::* side) {
    for (const OpTime& op : ops) {
      QueueComparison& queue = queues[op.queue];
      queue.queue = op.queue;
      queue.busy.*side += share * op.work;
      queue.wait.*side += share * op.wait;
    }
  };
  add(predicted, &ComparedTime::predicted);
  add(measured, &ComparedTime::measured);
  std::vector<QueueComparison> out;
  for (const auto& [name, queue] : queues) out.push_back(queue);
  return out;
}

std::set<std::int32_t> common_ranks(const Trace& a, const Trace& b) {
  std::set<std::int32_t> ranks;
  for (const auto& [rank, count] : a.header.represents) {
    if (b.header.represents.contains(rank)) ranks.insert(rank);
  }
  return ranks;
}

std::vector<std::string> notes_of(const Trace& predicted, const Trace& measured) {
  std::vector<std::string> notes;
  if (predicted.header.program_hash != measured.header.program_hash) {
    notes.emplace_back("the traces are of different programs; only ops with equal names are compared");
  }
  for (const Trace* trace : {&predicted, &measured}) {
    for (const std::string& note : trace->header.notes) {
      notes.push_back(fmt::format("{}: {}", trace->header.interpreter, note));
    }
    if (!trace->header.extrapolated.empty()) {
      notes.push_back(fmt::format("{}: extrapolated beyond the calibration: {}", trace->header.interpreter,
                                  fmt::join(trace->header.extrapolated, ", ")));
    }
  }
  return notes;
}

}  // namespace

double ComparedTime::error() const {
  if (measured == Seconds::zero()) return std::numeric_limits<double>::quiet_NaN();
  return (predicted - measured) / measured;
}

Comparison compare(const Trace& predicted, const Trace& measured) {
  Comparison comparison;
  const std::vector<StepRecord> predicted_steps = counted_steps(predicted), measured_steps = counted_steps(measured);
  comparison.predicted = summarize(predicted);
  comparison.measured = summarize(measured);
  comparison.step_time = {comparison.predicted.step_time, comparison.measured.step_time};
  const std::set<std::int32_t> ranks = common_ranks(predicted, measured);
  comparison.num_ranks_compared = std::ssize(ranks);
  const std::vector<OpTime> predicted_ops = op_times(predicted, predicted_steps, ranks);
  const std::vector<OpTime> measured_ops = op_times(measured, measured_steps, ranks);
  Join(comparison).run(predicted_ops, measured_ops);
  comparison.queues = queue_times(predicted_ops, measured_ops, ranks.size());
  comparison.notes = notes_of(predicted, measured);
  return comparison;
}

}  // namespace orrery
