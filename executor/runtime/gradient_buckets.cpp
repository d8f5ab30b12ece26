// SPDX-License-Identifier: Apache-2.0
#include "executor/runtime/gradient_buckets.h"

#include "base/check.h"
#include "executor/runtime/weights.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <variant>

namespace orrery::executor {
namespace {

/// A reduction of the program.
struct Reduction {
  std::int64_t elements = 0;
  OpIndex op = 0;
};

/// The op after which the gradients of a rank that this rank owns are being summed for the first time.
OpCode first_reduction(const FlatState& state) {
  const bool dense = state.kind().kind == FlatBufferKind::dense;
  if (state.kind().zero == 0) return dense ? OpCode::dp_grad_ar : OpCode::edp_grad_ar;
  if (state.shards().num_ranks() == 1) return dense ? OpCode::dp_replica_ar : OpCode::edp_replica_ar;
  return dense ? OpCode::dp_grad_rs : OpCode::edp_grad_rs;
}

/// In the order of their buckets.
std::vector<Reduction> reductions_of(const StepProgram& program, const RankClass& rank_class, const FlatState& state) {
  std::vector<Reduction> found;
  for (OpIndex i = 0; i < rank_class.ops.size(); ++i) {
    const Op& op = rank_class.ops[i];
    if (op.key.op != first_reduction(state) || op.key.bucket < 0 || op.key.micro_batch >= 0) continue;
    CHECK(op.key.bucket == static_cast<std::int16_t>(found.size()), to_string(op.key), found.size());
    const std::int64_t bytes = std::get<CollectiveShape>(program.shapes[op.shape]).bytes;
    found.push_back({.elements = bytes / size_of(state.kind().wire), .op = i});
  }
  return found;
}

/// Where in the program the gradient of each weight is complete: its last op.
class Completion {
 public:
  Completion(const StepProgram& program, const RankClass& rank_class, const FlatState& state)
      : model_(program.model), num_ops_(static_cast<OpIndex>(rank_class.ops.size())) {
    for (OpIndex i = 0; i < rank_class.ops.size(); ++i) {
      const Op& op = rank_class.ops[i];
      if (op.key.micro_batch < 0 || (op.key.pass != Pass::igrad && op.key.pass != Pass::wgrad)) continue;
      const UnitId unit = unit_of(op.key);
      last_[unit.layer] = i;
      if (unit.mtp_head) last_[OpKey::kHead] = i;
    }
    for (const LocalParameter& p : state.parameters()) has_head_ = has_head_ || p.whole.role == WeightRole::head;
  }

  OpIndex of(const Parameter& p) const {
    OpIndex last = 0;
    bool is_known = false;
    const auto wait_for = [&](std::int16_t unit) {
      const auto found = last_.find(unit);
      if (found == last_.end()) return;
      last = std::max(last, found->second);
      is_known = true;
    };
    wait_for(orrery::unit_of(p));
    if (p.role == WeightRole::embedding) {
      if (!has_head_) wait_for(OpKey::kHead);  // tied
      for (std::int64_t module = 0; module < model_.num_mtp_modules; ++module) {
        wait_for(static_cast<std::int16_t>(model_.num_layers() + module));
      }
    }
    return is_known ? last : num_ops_;
  }

 private:
  const Model& model_;
  OpIndex num_ops_;
  std::map<std::int16_t, OpIndex> last_;  // by unit
  bool has_head_ = false;
};

}  // namespace

std::int64_t GradientBuckets::Bucket::size() const {
  return std::accumulate(per_rank.begin(), per_rank.end(), std::int64_t{0});
}

std::int64_t GradientBuckets::Bucket::first_of(std::int64_t rank) const {
  return std::accumulate(per_rank.begin(), per_rank.begin() + static_cast<std::ptrdiff_t>(rank), std::int64_t{0});
}

GradientBuckets::GradientBuckets(const StepProgram& program, const RankClass& rank_class, const FlatState& state) {
  if (!program.strategy.overlap.dp_buckets) return;
  const std::vector<Reduction> reductions = reductions_of(program, rank_class, state);
  const std::span<const LocalParameter> parameters = state.parameters();
  const Completion completion(program, rank_class, state);
  std::vector<OpIndex> complete;
  for (const LocalParameter& p : parameters) complete.push_back(completion.of(p.whole));
  std::vector<std::int64_t> row(parameters.size());
  std::iota(row.begin(), row.end(), 0);
  std::stable_sort(row.begin(), row.end(), [&](std::int64_t a, std::int64_t b) {
    return complete[static_cast<std::size_t>(a)] < complete[static_cast<std::size_t>(b)];
  });

  std::int64_t begin = 0;
  for (const Reduction& reduction : reductions) {
    const bool is_last = &reduction == &reductions.back();
    const std::int64_t end = begin + reduction.elements;
    Bucket& bucket = buckets_.emplace_back();
    std::int64_t at = 0;
    for (std::int64_t rank = 0; rank < state.shards().num_ranks(); ++rank) {
      std::vector<Piece>& pieces = bucket.of_rank.emplace_back();
      const std::int64_t first = at;
      std::int64_t place = 0;  // of the weight in the row
      for (const std::int64_t parameter : row) {
        const auto index = static_cast<std::size_t>(parameter);
        const OwnedRange& owned = state.range_of(parameter, rank);
        const std::int64_t from = std::max(place + owned.begin, begin);
        const std::int64_t count = std::min(place + owned.begin + owned.count, end) - from;
        if (count > 0) {
          CHECK(complete[index] < reduction.op, rank, parameter, complete[index], reduction.op);
          pieces.push_back({.parameter = parameter, .begin = from - place, .count = count, .at = at});
          at += count;
        }
        place += parameters[index].size();
      }
      bucket.per_rank.push_back(at - first);
    }
    const std::int64_t padding = reduction.elements - bucket.size();
    CHECK(padding == 0 || (is_last && padding > 0), reduction.op, padding);
    bucket.per_rank.back() += padding;
    begin = end;
  }
}

}  // namespace orrery::executor
