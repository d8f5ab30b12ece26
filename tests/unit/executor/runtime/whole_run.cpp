// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/executor/runtime/whole_run.h"

#include "executor/kernels/elementwise.h"
#include "executor/runtime/run_step_end.h"
#include "program/memory_replay.h"
#include "program/work.h"

#include <cmath>
#include <mutex>

#include <gtest/gtest.h>

namespace orrery::executor::testing {
namespace {

/// Where element `index` of what a rank holds lies in the whole weight.
std::size_t place(const LocalParameter& p, std::int64_t index) {
  for (const Box& box : p.boxes) {
    if (index < box.rows * box.cols) {
      const std::int64_t row = box.row + index / box.cols, col = box.col + index % box.cols;
      return static_cast<std::size_t>(row * p.whole.cols + col);
    }
    index -= box.rows * box.cols;
  }
  ADD_FAILURE() << index;
  return 0;
}

/// Puts weights together, element by element.
class Assembler {
 public:
  explicit Assembler(bool tied_embeddings) : tied_embeddings_(tied_embeddings) {}

  void add(const LocalParameter& p, std::int64_t begin, ConstMatrix values) {
    const std::string name = stored_name(p.whole, tied_embeddings_);
    std::vector<float>& whole = weights_.try_emplace(name, static_cast<std::size_t>(p.whole.size())).first->second;
    std::vector<bool>& known = known_.try_emplace(name, whole.size()).first->second;
    std::vector<float> storage;
    const std::span<const float> all = row_span<float>(widened(values, storage), 0);
    for (std::size_t i = 0; i < all.size(); ++i) {
      const std::size_t at = place(p, begin + static_cast<std::int64_t>(i));
      if (known[at]) differing_ += whole[at] != all[i] ? 1 : 0;
      whole[at] = all[i];
      known[at] = true;
    }
    if (differing_ > 0) ADD_FAILURE() << "copies of " << name << " differ in " << differing_ << " elements";
    differing_ = 0;
  }
  std::map<std::string, std::vector<float>> take() {
    for (const auto& [name, known] : known_) {
      EXPECT_EQ(std::count(known.begin(), known.end(), false), 0) << "elements of " << name << " that no rank has";
    }
    return std::move(weights_);
  }

 private:
  bool tied_embeddings_;
  std::map<std::string, std::vector<float>> weights_;
  std::map<std::string, std::vector<bool>> known_;
  int differing_ = 0;
};

void add_weights(RankState& rank, const StepProgram& program, Assembler& whole) {
  for (const LocalParameter& p : local_parameters(program.model, program.strategy, program.mesh, rank.view.rank)) {
    if (!p.whole.buffer) continue;
    const std::span<const float> values = rank.weights.router_bias(p.whole.layer);
    whole.add(p, 0, matrix_of(values.data(), 1, static_cast<std::int64_t>(values.size())));
  }
  for (const FlatBufferKind kind : {FlatBufferKind::dense, FlatBufferKind::expert}) {
    FlatState& state = rank.weights.state(kind);
    // Overlapped buckets gather weights at the start of the next step only.
    const bool owned_only = state.shards_weights() || (program.strategy.overlap.dp_buckets && state.kind().zero >= 1);
    for (std::size_t i = 0; i < state.parameters().size(); ++i) {
      const auto index = static_cast<std::int64_t>(i);
      const OwnedRange range = owned_only ? state.owned_of(index) : OwnedRange{.count = state.parameters()[i].size()};
      whole.add(state.parameters()[i], range.begin, state.weights(index, range.begin, range.count));
    }
  }
}

/// After a step every rank has the whole sum of what it owns.
void add_gradients(RankState& rank, Assembler& whole) {
  for (const FlatBufferKind kind : {FlatBufferKind::dense, FlatBufferKind::expert}) {
    FlatState& state = rank.weights.state(kind);
    for (std::size_t i = 0; i < state.parameters().size(); ++i) {
      const auto index = static_cast<std::int64_t>(i);
      const OwnedRange& range = state.owned_of(index);
      whole.add(state.parameters()[i], range.begin, state.gradients(index, range.begin, range.count));
    }
  }
}

/// What the ranks told each other beside what the program counts.
double uncounted_bytes(const StepProgram& program, const OpKey& key) {
  const Strategy& s = program.strategy;
  const bool varies = !s.capacity_factor;
  if (key.pass != Pass::fwd && key.pass != Pass::rec) return 0.0;
  // A rank says how many tokens it sends: 4 bytes to each other rank of the EP group.
  if (key.op == OpCode::moe_dispatch && s.dispatcher == Dispatcher::two_level) {
    return 4.0 * static_cast<double>(s.ep - 1);
  }
  // And how many rows of each source and expert it has got, to each other rank of the ETP group.
  if (key.op == OpCode::etp_gather && varies) {
    return 4.0 * static_cast<double>((s.etp - 1) * program.model.moe->num_experts);
  }
  return 0.0;
}

/// What ranks that share a sequence send to add up what its tokens chose, for the auxiliary loss.
double counts_bytes(const StepProgram& program, const OpKey& key) {
  const Strategy& s = program.strategy;
  const bool counts = key.op == OpCode::moe_router && (key.pass == Pass::fwd || key.pass == Pass::rec);
  if (!counts || program.model.moe->aux_loss_coefficient == 0.0) return 0.0;
  double sum = 0.0;
  for (const std::int64_t n : {s.tp, s.cp}) {
    const auto bytes = static_cast<double>(8 * s.micro_batch * program.model.moe->num_experts);
    sum += 2.0 * static_cast<double>(n - 1) / static_cast<double>(n) * bytes;
  }
  return sum;
}

/// What a TP group sends to sum the gradients of key-value heads that several of its ranks hold.
double copies_bytes(const StepProgram& program, const OpKey& key, RankState& rank) {
  const auto* gqa = std::get_if<GroupedQueryAttention>(&program.model.attention);
  if (key.op != OpCode::tp_grad_ar || gqa == nullptr) return 0.0;
  const FlatState& dense = rank.weights.dense();
  const CollectiveShape heads{
      .group = Group::tp, .bytes = gqa->num_kv_heads * copied_head_elements(dense) * size_of(dense.kind().gradient)};
  return wire_bytes(heads, program.strategy.tp).in(unit::byte);
}

/// Rows of one exchange that leave this rank for others.
double leaving_rows(const ExchangeShape& shape, const StepProgram& program, const RoutedBatch& routed,
                    std::int64_t member) {
  const auto ep = static_cast<std::size_t>(program.strategy.ep);
  double leaving = 0.0;
  if (shape.two_level) {
    for (std::size_t i = 0; i < ep; ++i) {
      if (static_cast<std::int64_t>(i) != member) leaving += static_cast<double>(routed.sent.counts[i]);
    }
    return leaving;
  }
  const std::size_t local = routed.send_counts.size() / ep;
  for (std::size_t e = 0; e < routed.send_counts.size(); ++e) {
    if (static_cast<std::int64_t>(e / local) != member) leaving += static_cast<double>(routed.send_counts[e]);
  }
  return leaving;
}

/// The key under which all members of a group count: ops of the step's end name the first stage of their rank, and what
/// the two ranks of DualPipe with the same stages sum together is of different micro-batches.
OpKey common_key(const StepProgram& program, const Op& op) {
  OpKey key = op.key;
  const auto group = group_of(program.shapes[op.shape]);
  const bool on_the_way = key.pass == Pass::sync && group && program.mesh.spans_pipeline_ranks(*group);
  if (key.micro_batch >= 0 && on_the_way) key.micro_batch = 0;
  if (key.micro_batch < 0) key.stage = 0;
  return key;
}

double expected_bytes(const StepProgram& program, const OpKey& key, const OpShape& shape, RankState& rank) {
  if (const auto* peer = std::get_if<PeerShape>(&shape)) return peer->send ? static_cast<double>(peer->bytes) : 0.0;
  if (const auto* exchange = std::get_if<ExchangeShape>(&shape)) {
    // Rows that cross between ranks are the same there and back, so over the group it is those that leave.
    const RoutedBatch& routed = rank.routing.at(key.layer, key.micro_batch);
    return leaving_rows(*exchange, program, routed, rank.view.coords.ep) * static_cast<double>(exchange->row_bytes) +
           static_cast<double>(exchange->count_bytes * (program.strategy.ep - 1));
  }
  if (const auto* collective = std::get_if<CollectiveShape>(&shape)) {
    CollectiveShape resolved = *collective;
    if (resolved.row_bytes > 0) {
      const RoutedBatch& routed = rank.routing.at(key.layer, key.micro_batch);
      resolved.bytes += routed.arrived.gathered * resolved.row_bytes;
    }
    return wire_bytes(resolved, program.mesh.size(collective->group)).in(unit::byte);
  }
  return 0.0;
}

/// Rows that arrived in every layer and micro-batch of a rank.
Arrivals arrivals_of(const StepProgram& program, RankState& rank) {
  Arrivals arrivals;
  std::map<std::int64_t, std::vector<ArrivedRows>> by_layer;
  std::map<std::int64_t, double> distinct;  // tokens under a balanced router, as the program has them
  for (const Tensor& tensor : rank.rank_class.tensors) {
    if (tensor.rows.kind == Rows::Kind::distinct) distinct[tensor.layer] = static_cast<double>(tensor.rows.count);
  }
  // A prediction module's tensors stand one position further on than its key says.
  const std::int64_t num_layers = program.model.num_layers();
  for (const auto& [place, routed] : rank.routing.batches()) {
    if (routed.send_counts.empty()) continue;
    const std::int64_t layer = place.first < num_layers ? place.first : num_layers + 1 + 2 * (place.first - num_layers);
    std::vector<ArrivedRows>& rows = by_layer[layer];
    rows.resize(static_cast<std::size_t>(program.num_micro_batches));
    ArrivedRows& mine = rows[static_cast<std::size_t>(place.second)];
    mine.received = static_cast<double>(routed.arrived.received);
    mine.gathered = static_cast<double>(routed.arrived.gathered);
    if (distinct.contains(layer)) {
      mine.distinct_share = static_cast<double>(routed.arrived.distinct) / distinct.at(layer);
    }
  }
  if (by_layer.empty()) return Arrivals::balanced();
  for (auto& [layer, rows] : by_layer) arrivals.set(layer, std::move(rows));
  return arrivals;
}

}  // namespace

void set_weights(RankState& rank, const std::map<std::string, std::vector<float>>& whole) {
  for (const LocalParameter& p :
       local_parameters(rank.model(), rank.program.strategy, rank.program.mesh, rank.view.rank)) {
    if (!p.whole.buffer) continue;
    const std::vector<float>& values = whole.at(name_of(p.whole));
    const std::span<float> bias = rank.weights.router_bias(p.whole.layer);
    ASSERT_EQ(bias.size(), values.size());
    std::copy(values.begin(), values.end(), bias.begin());
  }
  for (const FlatBufferKind kind : {FlatBufferKind::dense, FlatBufferKind::expert}) {
    FlatState& state = rank.weights.state(kind);
    for (std::size_t i = 0; i < state.parameters().size(); ++i) {
      const LocalParameter& p = state.parameters()[i];
      const std::vector<float>& all = whole.at(stored_name(p.whole, rank.model().tied_embeddings));
      ASSERT_EQ(static_cast<std::int64_t>(all.size()), p.whole.size()) << name_of(p.whole);
      std::vector<float> values(static_cast<std::size_t>(p.size()));
      for (std::size_t j = 0; j < values.size(); ++j) values[j] = all[place(p, static_cast<std::int64_t>(j))];
      state.start(static_cast<std::int64_t>(i), matrix_of(values.data(), 1, p.size()));
    }
  }
}

WholeRun run_whole(const StepProgram& program, const TrainingSettings& settings,
                   const std::function<void(RankRuntime&)>& prepare, Backend backend) {
  WholeRun out;
  Assembler whole(program.model.tied_embeddings), gradients(program.model.tied_embeddings);
  std::mutex mutex;
  on_all_ranks(
      program, settings,
      [&](RankRuntime& runtime, int rank) {
        if (prepare) prepare(runtime);
        for (std::int64_t step = 0; step < settings.num_steps; ++step) {
          const StepRecord record = runtime.run_step().record;
          if (step == 0) {
            const std::lock_guard lock(mutex);
            add_gradients(runtime.state(), gradients);
          }
          if (rank != 0) continue;
          out.losses.push_back(record.loss);
          out.norms.push_back(record.grad_norm);
        }
        const std::lock_guard lock(mutex);
        add_weights(runtime.state(), program, whole);
      },
      backend);
  // Clipping has acted in every step that is compared.
  for (std::size_t step = 0; step < out.norms.size(); ++step) {
    EXPECT_GT(out.norms[step], settings.clip_norm) << "gradient norm of step " << step;
  }
  out.weights = whole.take();
  out.gradients = gradients.take();
  return out;
}

void expect_accounts(const StepProgram& program, const TrainingSettings& settings, Backend backend) {
  std::mutex mutex;
  std::map<OpKey, double> sent, expected;  // over all ranks
  on_all_ranks(
      program, settings,
      [&](RankRuntime& runtime, int rank) {
        const RankRuntime::Step step = runtime.run_step();
        RankState& state = runtime.state();
        const std::lock_guard lock(mutex);
        std::map<OpKey, OpKey> common;
        for (const Op& op : state.rank_class.ops) {
          const OpKey key = common[op.key] = common_key(program, op);
          expected[key] += expected_bytes(program, op.key, program.shapes[op.shape], state) +
                           uncounted_bytes(program, op.key) + counts_bytes(program, op.key) +
                           copies_bytes(program, op.key, state);
        }
        for (const Span& span : step.spans) sent[common.at(span.key)] += span.bytes.in(unit::byte);
        const double replayed = replay_memory(state.rank_class, arrivals_of(program, state)).bytes.in(unit::byte);
        EXPECT_NEAR(static_cast<double>(state.tensors.arena().peak_bytes()), replayed, 1e-3)
            << "arena of rank " << rank;
        EXPECT_EQ(state.tensors.arena().live_bytes(), 0) << "rank " << rank;
      },
      backend);
  EXPECT_EQ(sent.size(), expected.size());
  // Sums of fractions of bytes, where ranks do not divide a buffer.
  for (const auto& [key, bytes] : expected) EXPECT_NEAR(sent[key], bytes, 1e-3) << to_string(key);
}

void expect_same_bits(const WholeRun& want, const WholeRun& got) {
  ASSERT_EQ(want.weights.size(), got.weights.size());
  for (const auto& [name, values] : want.weights) {
    const auto found = got.weights.find(name);
    ASSERT_TRUE(found != got.weights.end()) << name;
    EXPECT_TRUE(found->second == values) << name;
  }
  EXPECT_EQ(want.losses, got.losses);
  EXPECT_EQ(want.norms, got.norms);
}

double relative_difference(std::span<const float> want, std::span<const float> got) {
  double difference = 0.0, size = 0.0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    difference += std::pow(static_cast<double>(got[i]) - static_cast<double>(want[i]), 2);
    size += std::pow(static_cast<double>(want[i]), 2);
  }
  return difference == 0.0 ? 0.0 : std::sqrt(difference / size);
}

void expect_close(const WholeRun& want, const WholeRun& got, double tolerance, double later_norms) {
  ASSERT_EQ(want.losses.size(), got.losses.size());
  for (std::size_t i = 0; i < want.losses.size(); ++i) {
    EXPECT_NEAR(got.losses[i], want.losses[i], tolerance * want.losses[i]) << "loss of step " << i;
    EXPECT_NEAR(got.norms[i], want.norms[i], (i == 0 ? 1.0 : later_norms) * tolerance * want.norms[i])
        << "gradient norm of step " << i;
  }
  ASSERT_EQ(want.gradients.size(), got.gradients.size());
  for (const auto& [name, values] : want.gradients) {
    const auto found = got.gradients.find(name);
    ASSERT_TRUE(found != got.gradients.end()) << name;
    ASSERT_EQ(found->second.size(), values.size()) << name;
    EXPECT_LE(relative_difference(values, found->second), tolerance) << "gradient of " << name;
  }
}

}  // namespace orrery::executor::testing
