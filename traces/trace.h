// SPDX-License-Identifier: Apache-2.0
// What an interpreter did with a program: one span for each op that ran, on a common clock. Predicted and measured
// steps have the same form, so that they can be compared op by op. A span tells waiting from work: `ready` is when
// its queue and its inputs allowed it, `start` when it really began (for communication: when the last peer was
// there), `end` when it ended. In memory spans are columns; on disk they are JSON Lines (docs/formats/trace.md).
#pragma once

#include "base/units.h"
#include "program/load_model.h"
#include "program/op.h"
#include "program/op_key.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace orrery {

/// One op of one rank in one step, as a row of the columns below. Times count from the start of the step.
struct Span {
  std::int32_t step = 0;
  std::int32_t rank = 0;
  OpKey key;
  Queue queue = Queue::compute;
  Seconds ready, start, end;
  std::int32_t last_peer = -1;  // rank that arrived last at a communication; -1: none, or this rank itself
  Bytes bytes;                  // payload that this rank sent to others

  Seconds duration() const { return end - start; }
  Seconds wait() const { return start - ready; }
};

/// Spans as columns, all of one length.
class Spans {
 public:
  std::size_t size() const { return key_.size(); }
  void reserve(std::size_t n);
  void push_back(const Span& span);
  Span at(std::size_t i) const;

  const std::vector<std::int32_t>& step() const { return step_; }
  const std::vector<std::int32_t>& rank() const { return rank_; }
  const std::vector<OpKey>& key() const { return key_; }
  const std::vector<Queue>& queue() const { return queue_; }
  /// Seconds.
  const std::vector<double>& ready() const { return ready_; }
  const std::vector<double>& start() const { return start_; }
  const std::vector<double>& end() const { return end_; }
  const std::vector<std::int32_t>& last_peer() const { return last_peer_; }
  /// Bytes.
  const std::vector<double>& bytes() const { return bytes_; }

 private:
  std::vector<std::int32_t> step_, rank_;
  std::vector<OpKey> key_;
  std::vector<Queue> queue_;
  std::vector<double> ready_, start_, end_;
  std::vector<std::int32_t> last_peer_;
  std::vector<double> bytes_;
};

/// Facts about one step as a whole.
struct StepRecord {
  std::int32_t step = 0;
  Seconds time;            // from the common start to the end of the last op of any rank
  double tokens = 0.0;     // trained in the step, all ranks
  double loss = 0.0;       // mean per token; NaN where nothing was computed
  double grad_norm = 0.0;  // before clipping; NaN where nothing was computed
  Bytes peak_memory;       // of the fullest rank, as this interpreter counts it
};

struct PowerSample {
  std::int32_t rank = 0;
  Seconds time;
  Watts power;
};

/// What the routers did: the matrix of one layer, micro-batch and EP group (see RecordedLoad).
struct LoadRecord {
  std::int32_t step = 0;
  std::int64_t layer = 0, micro_batch = 0, ep_group = 0;
  RoutingMatrix routing;
};

/// What the memory of one rank consisted of at the moment of the run at which its tensors took most.
struct MemoryRecord {
  std::int32_t rank = 0;
  std::int32_t step = 0;                 // in which that was
  Bytes weights, gradients, optimizer;   // kept from step to step; what an optimizer has on its host does not count
  std::map<std::string, Bytes> tensors;  // by role, of the program's tensors; those that were not there are left out
  std::optional<Bytes> resident;         // that the process had more than before all these; not set: not measured

  Bytes of_tensors() const;
  Bytes total() const { return weights + gradients + optimizer + of_tensors(); }
};

struct TraceHeader {
  std::string interpreter;     // "analytic" | "simgrid" | "cpu"
  std::string version;         // of Orrery
  std::string program_hash;    // hash_of(StepProgram)
  std::string plan;            // path or name, for people
  std::int64_t num_ranks = 0;  // of the program
  /// Ranks that have spans here, and how many ranks of the program each stands for.
  std::map<std::int32_t, std::int64_t> represents;
  Seconds clock_error;                // of the common clock between ranks; zero when simulated
  std::int64_t threads_per_rank = 0;  // 0: does not apply
  /// Names of ops whose predicted time lies outside the calibrated range; empty for measured traces.
  std::vector<std::string> extrapolated;
  std::vector<std::string> notes;  // sentences a reader should see, for example what was left out
};

struct Trace {
  TraceHeader header;
  Spans spans;
  std::vector<StepRecord> steps;
  std::vector<PowerSample> power;
  std::vector<LoadRecord> loads;
  std::vector<MemoryRecord> memory;  // of ranks, each at most once
};

}  // namespace orrery
