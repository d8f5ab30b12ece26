// SPDX-License-Identifier: Apache-2.0
// A bound for all plans of some operators in a pipeline of so many ranks, however its layers are laid and its states
// are sharded: it knows how long the pipeline is, and what a rank's memory makes it run again. Both are sums over
// layers, so that thousands of families are thrown away together, before one of them is laid out.
//   pipeline  1F1B and GPipe, one chunk: rank r waits for the forwards before it, does m micro-batches, and the
//             gradient of its last one passes the backwards before it. If all ranks end at X, with W of a micro-batch
//             on all p ranks together, X = W / (1 - (1 - 1/m)^p), more where ranks have work that nobody waits for.
//             With gradients apart only forwards count. In other orders stages of any size may
//             come first: they have no such bound.
//   pairs     slots of the warm-up and of the drain run beside no other, so that their exchanges count in full, as
//             many as on the stage of a rank that has fewest of them.
//   memory    a rank that holds h micro-batches of n layers, A bytes for each, needs h n A, and its states at their
//             least. Recomputation makes A smaller and costs time: the cheapest that fits is a step function of n. The
//             convex line below it gives the least sum over ranks. ZeRO 2 and 3 need less and keep a communicator busy.
#pragma once

#include "planner/operator_table.h"
#include "planner/pipeline_choices.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

namespace orrery::planner {

class PipelineBound {
 public:
  /// All must outlive it. `pieces`: those of others who ask the same cost model. Not thread-safe.
  PipelineBound(const FamilyContext& context, const Strategy& operators, const costmodel::CostModel& cost,
                costmodel::PieceTimes* pieces = nullptr);
  ~PipelineBound();
  PipelineBound(const PipelineBound&) = delete;
  PipelineBound& operator=(const PipelineBound&) = delete;

  /// At most the time of a step of any plan with these operators in this pipeline; infinite: none fits.
  Seconds of(const PipelineChoice& choice);

 private:
  struct Layer;
  struct Work;
  /// At least what the layers take together where slots run in pairs.
  struct InPairs {
    Seconds layers;                // what is hidden slows arithmetic
    Seconds layers_without_loss;   // it does not
    double layers_a_second = 0.0;  // of all ranks, without loss
    Seconds dearest;               // of a layer on the rank where it takes most, without loss

    /// With `others` on some ranks beside them.
    Seconds with(Seconds others) const {
      if (layers_a_second == 0.0) return {};
      return std::max(layers, layers_without_loss + seconds(others / dearest / layers_a_second));
    }
  };
  InPairs in_pairs(const PipelineChoice& choice, const Work& work) const;
  const Work& work(const PipelineChoice& choice, bool slices);
  const std::vector<Layer>& layers(bool slices);
  Seconds with(const PipelineChoice& choice, bool slices);
  Seconds run_again(const PipelineChoice& choice, const Work& work, const std::vector<Layer>& layers,
                    const std::vector<double>& all_held, double states) const;
  double free_bytes() const;
  double states_of_layer(const PipelineChoice& choice, int zero_dense, int zero_expert) const;
  Seconds queue_of_layer(const PipelineChoice& choice, int zero, bool dense);

  const FamilyContext& c_;
  const Strategy operators_;
  const costmodel::CostModel& cost_;
  costmodel::PieceTimes* const pieces_;
  costmodel::MemoryModel memory_model_;
  LayerKind kind_ = LayerKind::dense;               // of most layers
  std::vector<std::int64_t> examples_;              // a layer of that kind for each attention span
  double num_layers_ = 0.0;                         // of that kind
  std::vector<std::set<RecomputeModule>> choices_;  // of recomputation, those that such a layer tells apart
  bool knows_memory_ = true;
  std::map<std::pair<int, bool>, Work> work_;  // by kind of slots, and whether products are cut into slices
  std::map<bool, std::vector<Layer>> layers_;  // by choice
  std::map<std::tuple<std::int64_t, bool, int, bool>, Seconds> queues_;  // by ranks, both ways, ZeRO, dense
};

struct BoundedPipeline {
  PipelineChoice choice;
  Seconds bound;  // infinite: nothing fits
};

/// All pipelines of `operators`.
std::vector<BoundedPipeline> pipeline_bounds(const FamilyContext& context, const Strategy& operators,
                                             const costmodel::CostModel& cost, costmodel::PieceTimes* pieces = nullptr);

}  // namespace orrery::planner
