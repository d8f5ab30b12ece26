// SPDX-License-Identifier: Apache-2.0
// Gradients that are reduced while the backward runs, and weights that are gathered while the forward does (Overlap::
// dp_buckets; Megatron-LM, --overlap-grad-reduce and --overlap-param-gather). The flat buffer of a rank is cut into
// buckets in the order in which gradients are complete: each ends with a unit of the model, once it is large enough.
// A bucket is reduced behind the last backward of its last unit, and gathered at the start of the step, last bucket
// first, since the forward needs them so.
#pragma once

#include "program/flat_buffer.h"
#include "program/lowering/slot_stream.h"
#include "program/lowering/stream_runs.h"

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

namespace orrery::lowering {

/// A stage, and a layer or an end of it (OpKey::layer).
using UnitId = std::pair<std::int64_t, std::int16_t>;

/// A stage with a stream of its weight gradients, which says in which order its units are done.
struct StageUnits {
  std::int64_t stage = 0;
  const Stream* weight_gradients = nullptr;
};

class GradientBuckets {
 public:
  /// `done`: the stages of the rank in the order in which their last gradients are complete.
  GradientBuckets(const ClassContext& context, const std::vector<StageUnits>& done);

  /// Emits the gathers of all weights, where they are sharded.
  void gather_weights(ClassBuilder& builder);
  /// Gathers that the first op of a unit waits for.
  std::vector<OpIndex> weights_of(UnitId unit) const;
  /// Emits the reductions of buckets that end with `unit`, whose last gradient is that of `last`.
  void close(UnitId unit, OpIndex last, ClassBuilder& builder);

  const std::vector<OpIndex>& reductions() const { return reductions_; }

 private:
  struct Bucket {
    FlatBufferKind kind = FlatBufferKind::dense;
    std::int64_t elements = 0;
    std::int16_t index = 0;
    UnitId last;
    std::vector<UnitId> units;
    std::int64_t gather = -1;  // its op, -1: none
  };
  std::int64_t completed_by(const Run& run, FlatBufferKind kind) const;
  void cut(FlatBufferKind kind, const std::vector<StageUnits>& done);
  OpIndex emit(const Bucket& bucket, bool gathers, std::span<const OpIndex> after, ClassBuilder& builder) const;

  const ClassContext& c_;
  std::vector<Bucket> buckets_;
  std::vector<OpIndex> reductions_;
};

}  // namespace orrery::lowering
