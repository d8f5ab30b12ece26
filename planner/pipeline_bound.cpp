// SPDX-License-Identifier: Apache-2.0
#include "planner/pipeline_bound.h"

#include "costmodel/closed_step_end.h"
#include "costmodel/pipeline_moments.h"
#include "costmodel/rank_states.h"
#include "costmodel/rank_work.h"
#include "costmodel/slots_alone.h"
#include "costmodel/stage_lives.h"
#include "costmodel/tensor_table.h"
#include "program/schedule.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <tuple>
#include <utility>

namespace orrery::planner {

using costmodel::Slots;

namespace {

constexpr Seconds kNever = Seconds::from_si(std::numeric_limits<double>::infinity());

bool allows(const std::vector<int>& flags, int value) {
  return std::find(flags.begin(), flags.end(), value) != flags.end();
}

/// What differs within slots: whole backwards, in pairs or not, gradients apart, and DualPipe's pairs.
int slot_kind(const PipelineChoice& choice) {
  const Schedule canonical = operators_of({.schedule = choice.schedule}).schedule;
  return 2 * static_cast<int>(canonical) + (choice.pairs ? 1 : 0);
}

Seconds busy(const Slots& slots, bool pairs) {
  const Seconds all = slots.times.forward + slots.times.backward();
  return pairs ? all - slots.waited_exchanges.forward - slots.waited_exchanges.backward : all;
}

/// A line below what a rank has to run again, by its number of layers: from one corner to the next.
struct Segment {
  double slope = 0.0, length = 0.0;
};

/// `corners`: the most layers that fit with a choice, and what it costs with so many.
std::vector<Segment> lower_hull(const std::vector<std::pair<double, double>>& corners) {
  std::vector<Segment> out;
  double x = 0.0, y = 0.0;
  for (;;) {
    const std::pair<double, double>* next = nullptr;
    double least = 0.0;
    for (const auto& corner : corners) {
      if (corner.first <= x) continue;
      const double slope = std::isinf(corner.first) ? 0.0 : (corner.second - y) / (corner.first - x);
      if (next == nullptr || slope < least || (slope == least && corner.first > next->first)) {
        next = &corner;
        least = slope;
      }
    }
    if (next == nullptr) return out;
    out.push_back({.slope = std::max(least, 0.0), .length = next->first - x});
    if (std::isinf(next->first)) return out;
    std::tie(x, y) = *next;
  }
}

/// Micro-batches of each of its stages that a rank holds at its fullest, at least.
double num_held(const Strategy& s, const PipelineChoice& choice, std::int64_t rank) {
  std::int32_t most = 0;
  for (const costmodel::PipelineMoment& moment : costmodel::pipeline_moments(s, choice.num_micro_batches, rank)) {
    std::int32_t least = std::numeric_limits<std::int32_t>::max();
    for (const costmodel::HeldByStage& held : moment.held) least = std::min(least, held.activations);
    most = std::max(most, least);
  }
  return most;
}

}  // namespace

/// A layer of the most frequent kind under one choice of recomputation.
struct PipelineBound::Layer {
  double saved = 0.0;  // bytes of a micro-batch
  Seconds copies;      // of what offload takes to the host and back
};

struct PipelineBound::Work {
  Seconds all;                  // of a micro-batch in layers and ends
  Seconds layer;                // in one layer
  Seconds with_loss;            // the same, with what exchanges of pairs take from its arithmetic
  Seconds forward, both;        // slots of a layer, exchanges as if nothing hid them
  std::vector<Seconds> again;   // of a layer, by choice of recomputation
  std::vector<Slots> examples;  // of schedules in pairs: a layer for each attention span
};

PipelineBound::PipelineBound(const FamilyContext& context, const Strategy& operators, const costmodel::CostModel& cost,
                             costmodel::PieceTimes* pieces)
    : c_(context), operators_(operators), cost_(cost), pieces_(pieces), memory_model_(context.memory_model) {
  const Model& model = c_.model;
  const auto num_moe = std::count(model.layers.begin(), model.layers.end(), LayerKind::moe);
  kind_ = 2 * num_moe >= model.num_layers() ? LayerKind::moe : LayerKind::dense;
  std::vector<AttentionSpan> spans;
  for (std::int64_t layer = 0; layer < model.num_layers(); ++layer) {
    if (model.kind(layer) != kind_) continue;
    num_layers_ += 1.0;
    if (std::find(spans.begin(), spans.end(), model.span(layer)) != spans.end()) continue;
    spans.push_back(model.span(layer));
    examples_.push_back(layer);
  }
  // Dense layers and experts know nothing of each other's modules.
  for (std::set<RecomputeModule> choice : c_.domains.recompute) {
    choice.erase(kind_ == LayerKind::moe ? RecomputeModule::mlp : RecomputeModule::moe);
    if (std::find(choices_.begin(), choices_.end(), choice) == choices_.end()) choices_.push_back(std::move(choice));
  }
  // Layouts of the user may recompute by themselves.
  for (const Layout& layout : c_.domains.layouts) {
    for (const StageLayout& stage : layout.listed) knows_memory_ = knows_memory_ && stage.recompute.empty();
  }
  memory_model_.rho = c_.fullest_share.of(operators_);
}

PipelineBound::~PipelineBound() = default;

const PipelineBound::Work& PipelineBound::work(const PipelineChoice& choice, bool slices) {
  const auto [found, is_new] = work_.try_emplace({slot_kind(choice), slices});
  Work& work = found->second;
  if (!is_new) return work;
  Strategy s = choice.of(operators_);
  // With everything hidden that the domains allow.
  s.overlap.tp = slices;
  s.overlap.delayed_wgrad = allows(c_.domains.delayed_wgrad, 1);
  s.overlap.shared_expert = s.ep > 1 && allows(c_.domains.shared_expert, 1);
  const bool pairs = runs_pairs(s);
  // Without waits for the host: one layer may hide what another one waits for.
  OperatorTable table(c_.model, s, c_.batch, c_.num_devices, cost_, c_.densest, pieces_,
                      costmodel::StageBlocks::Aim::bound_of_device);
  StageLayout all{.num_layers = c_.model.num_layers(), .embedding = true, .head = true};
  if (s.mtp == Mtp::on) all.num_mtp = c_.model.num_mtp_modules;
  work.all = busy(table.slots(all), pairs);

  work.layer = work.with_loss = work.forward = work.both = kNever;
  for (const std::int64_t layer : examples_) {
    const Slots& slots = table.slots({.first_layer = layer, .num_layers = 1});
    costmodel::RankWork alone(1.0);
    const double waits = pairs ? 0.0 : 1.0;
    alone.add(slots, {}, {waits, waits});
    work.layer = std::min(work.layer, busy(slots, pairs));
    work.with_loss = std::min(work.with_loss, alone.slots());
    work.forward = std::min(work.forward, slots.times.forward);
    work.both = std::min(work.both, slots.times.forward + slots.times.backward());
    if (pairs) work.examples.push_back(slots);
  }
  if (!knows_memory_) return work;
  for (const std::set<RecomputeModule>& modules : choices_) {
    Seconds again = kNever;
    for (const std::int64_t layer : examples_) {
      StageLayout one{.first_layer = layer, .num_layers = 1};
      const Seconds without = busy(table.slots(one), pairs);
      one.recompute = modules;
      again = std::min(again, busy(table.slots(one), pairs) - without);
    }
    work.again.push_back(std::max(again, Seconds()));
  }
  return work;
}

const std::vector<PipelineBound::Layer>& PipelineBound::layers(bool slices) {
  std::vector<Layer>& out = layers_[slices];
  if (!out.empty()) return out;
  Strategy s = operators_;
  s.overlap.tp = slices;
  const Mesh mesh(s, c_.num_devices);
  const costmodel::TableSizes sizes(c_.model, s, c_.batch, memory_model_);
  costmodel::StageLivesMaker maker(sizes, mesh);
  costmodel::ClosedTimer timer(c_.model, s, mesh, cost_, c_.densest);
  timer.enter(0);
  const bool offloads = allows(c_.domains.offload_activations, 1);
  for (const std::set<RecomputeModule>& modules : choices_) {
    const costmodel::UnitLives& forward = maker.layer(kind_, modules, false)[0].front();
    const costmodel::LiveBytes kept = whole(forward.work).net;
    Layer& layer = out.emplace_back(Layer{.saved = std::min(kept.all, kept.saved), .copies = {}});
    const auto bytes = static_cast<std::int64_t>(forward.offloaded.all);
    if (offloads && bytes > 0) layer.copies = timer.copy(bytes, true) + timer.copy(bytes, false);
  }
  return out;
}

double PipelineBound::free_bytes() const {
  return (c_.limit - memory_model_.reserve).in(unit::byte) / (1.0 + memory_model_.fragmentation);
}

/// Of a layer, at least, in bytes: of one instance of the optimizer, offloaded if the domains allow it. Elements that
/// padding would complete do not count, so that layers add up.
double PipelineBound::states_of_layer(const PipelineChoice& choice, int zero_dense, int zero_expert) const {
  Strategy s = choice.of(operators_);
  s.zero_dense = zero_dense;
  s.zero_expert = zero_expert;
  s.offload_optimizer = allows(c_.domains.offload_optimizer, 1);
  const Mesh mesh(s, c_.num_devices);
  costmodel::RankElements elements = costmodel::ElementCounts(c_.model, s).layer(examples_.front());
  elements.dense -= elements.dense % mesh.size(Group::dp_shard);
  elements.expert -= elements.expert % mesh.size(Group::edp_shard);
  elements.muon_dense = std::min(elements.muon_dense, elements.dense);
  elements.muon_expert = std::min(elements.muon_expert, elements.expert);
  const costmodel::RankStates states = costmodel::rank_states(c_.model, s, mesh, memory_model_.framework, elements);
  return (states.weights + states.gradients + states.optimizer).in(unit::byte);
}

/// What ZeRO 2 and 3 keep a communicator busy with for a micro-batch in a layer, with as many instances as is fastest.
Seconds PipelineBound::queue_of_layer(const PipelineChoice& choice, int zero, bool dense) {
  if (zero < 2) return {};
  const auto [found, is_new] = queues_.try_emplace({choice.pp, choice.schedule == Schedule::dualpipe, zero, dense});
  if (!is_new) return found->second;
  Strategy s = choice.of(operators_);
  (dense ? s.zero_dense : s.zero_expert) = zero;
  const Mesh whole(s, c_.num_devices);
  std::optional<Seconds> least;
  for (const std::int64_t instances : c_.domains.num_optimizer_instances) {
    if (whole.size(Group::dp) % instances != 0 || whole.size(Group::edp) % instances != 0) continue;
    s.num_optimizer_instances = instances;
    const Mesh mesh(s, c_.num_devices);
    costmodel::ClosedTimer timer(c_.model, s, mesh, cost_, c_.densest);
    timer.enter(0);
    costmodel::ClosedStepEnd end(c_.model, s, mesh, timer);
    const Seconds queue = end.sharded_queue({.first_layer = examples_.front(), .num_layers = 1}, dense);
    least = std::min(least.value_or(queue), queue);
  }
  return found->second = least.value_or(Seconds());
}

/// Of all ranks together for a micro-batch, at least; infinite: the layers do not fit. `all_held`: micro-batches
/// by rank, `states`: bytes of a layer.
Seconds PipelineBound::run_again(const PipelineChoice& choice, const Work& work, const std::vector<Layer>& layers,
                                 const std::vector<double>& all_held, double states) const {
  const Strategy s = choice.of(operators_);
  const double copies = s.schedule == Schedule::dualpipe ? 2.0 : 1.0;  // of each stage, for half of the micro-batches
  const double num_layers = copies * num_layers_, free = free_bytes();
  const std::int64_t tokens = c_.batch.seq / s.cp * s.micro_batch / (s.sp ? s.tp : 1);
  // A stage may hand on the last of its outputs.
  const double stream = static_cast<double>(tokens * c_.model.hidden * size_of(compute_dtype(s)));
  const double boundaries = static_cast<double>(stages_of(s, 0).size()) * stream;
  const auto most_layers = [&](double held, const Layer& layer) {
    const double each = held * layer.saved + states;
    return each > 0.0 ? (free + held * boundaries) / each : std::numeric_limits<double>::infinity();
  };
  if (choice.pp == 1) {
    Seconds least = kNever;
    const double held = all_held.front();
    for (std::size_t i = 0; i < layers.size(); ++i) {
      if (most_layers(held, layers[i]) >= num_layers) least = std::min(least, num_layers * work.again[i]);
    }
    return least;
  }
  std::map<double, std::vector<Segment>> hulls;  // by micro-batches held
  std::vector<Segment> segments;
  for (const double held : all_held) {
    const auto [found, is_new] = hulls.try_emplace(held);
    if (is_new) {
      std::vector<std::pair<double, double>> corners;
      for (std::size_t i = 0; i < layers.size(); ++i) {
        const double most = most_layers(held, layers[i]), again = work.again[i].in(unit::second);
        corners.emplace_back(most, std::isinf(most) ? 0.0 : most * again);
      }
      found->second = lower_hull(corners);
    }
    segments.insert(segments.end(), found->second.begin(), found->second.end());
  }
  std::sort(segments.begin(), segments.end(), [](const Segment& a, const Segment& b) { return a.slope < b.slope; });
  double left = num_layers, sum = 0.0;
  for (const Segment& segment : segments) {
    const double taken = std::min(left, segment.length);
    sum += taken * segment.slope;
    left -= taken;
    if (left <= 0.0) return Seconds::from_si(sum / copies);
  }
  return kNever;
}

// Slots of the warm-up and of the drain wait for their exchanges. A rank on which a layer costs k has at most X / k of
// them if all ranks end at X, whichever of its stages they are on; so N layers take N / (sum of 1 / k) at least. What
// is no such layer comes on top, on the rank where that displaces fewest of them.
PipelineBound::InPairs PipelineBound::in_pairs(const PipelineChoice& choice, const Work& work) const {
  InPairs out;
  const Strategy s = choice.of(operators_);
  const double num_slots = slots_per_stage(s, choice.num_micro_batches);
  const double copies = s.schedule == Schedule::dualpipe ? 2.0 : 1.0;
  double layers_a_second = 0.0, without_loss = 0.0;
  for (std::int64_t rank = 0; rank < choice.pp; ++rank) {
    Seconds least = kNever, least_arithmetic = kNever;
    for (const costmodel::SlotsAlone& alone : costmodel::slots_alone(s, choice.num_micro_batches, rank)) {
      for (const Slots& layer : work.examples) {
        costmodel::RankWork of_layer(num_slots);
        of_layer.add(layer, {}, alone);
        least = std::min(least, of_layer.slots());
        least_arithmetic = std::min(least_arithmetic, of_layer.without_loss());
      }
    }
    if (least_arithmetic <= Seconds()) return {};
    layers_a_second += seconds(1) / least;
    without_loss += seconds(1) / least_arithmetic;
    out.dearest = std::max(out.dearest, least_arithmetic);
  }
  out.layers = seconds(copies * num_layers_ / layers_a_second);
  out.layers_without_loss = seconds(copies * num_layers_ / without_loss);
  out.layers_a_second = without_loss;
  return out;
}

Seconds PipelineBound::with(const PipelineChoice& choice, bool slices) {
  const Work& sums = work(choice, slices);
  const auto p = static_cast<double>(choice.pp), m = static_cast<double>(choice.num_micro_batches);
  // Waiting: for the forwards before, and the backwards; of gradients apart, for forwards alone. Layers by themselves
  // are less work, but others wait for their exchanges, hidden or not. Who is waited for may not run anything again.
  const bool whole = choice.schedule == Schedule::one_f_one_b || choice.schedule == Schedule::gpipe;
  const bool apart = choice.schedule == Schedule::zb_h1 || choice.schedule == Schedule::zb_h2;
  const auto waiting = [&](Seconds waited_for, Seconds work, Seconds again) {
    if (work <= Seconds()) return Seconds();
    const double share = std::min(waited_for / work, m);
    if (share <= 0.0) return Seconds();
    return share / (1.0 - std::pow(1.0 - share / m, p)) * (work + again) - share * again;
  };
  const double n = num_layers_;
  const InPairs pairs = sums.examples.empty() ? InPairs() : in_pairs(choice, sums);
  const auto end_with = [&](Seconds again) {
    Seconds end = m / p * std::max(sums.all + again, n * sums.with_loss);
    end = std::max(end, pairs.with(m * std::max(Seconds(), sums.all + again - n * sums.layer)));
    if (whole) {
      end = std::max({end, waiting(sums.all, sums.all, again), waiting(n * sums.both, n * sums.layer, again),
                      waiting(n * sums.both, n * sums.with_loss, {})});
    }
    if (apart) end = std::max(end, waiting(n * sums.forward, n * sums.layer, again));
    return end;
  };
  const Seconds bound = end_with({});
  if (!knows_memory_) return bound;

  const std::vector<Layer>& alone = layers(slices);
  Seconds memory = kNever;
  if (allows(c_.domains.offload_activations, 0)) {
    const Strategy s = choice.of(operators_);
    std::vector<double> held;
    for (std::int64_t rank = 0; rank < choice.pp; ++rank) held.push_back(num_held(s, choice, rank));
    for (const int dense : c_.domains.zero_dense) {
      for (const int expert : c_.domains.zero_expert) {
        // Optimizer states that are sharded cost nothing that is known here.
        if ((dense == 0 && allows(c_.domains.zero_dense, 1)) || (expert == 0 && allows(c_.domains.zero_expert, 1)))
          continue;
        const Seconds queue =
            m / p * n * std::max(queue_of_layer(choice, dense, true), queue_of_layer(choice, expert, false));
        if (memory <= bound || queue >= memory) continue;
        const Seconds again = run_again(choice, sums, alone, held, states_of_layer(choice, dense, expert));
        if (again < kNever) memory = std::min(memory, std::max(queue, end_with(again)));
      }
    }
  }
  if (memory > bound && allows(c_.domains.offload_activations, 1)) {
    // Arithmetic and copies are two queues: any mixture of their sums is at most the longer one.
    Seconds copied;
    for (const double weight : {0.0, 0.25, 0.5, 0.75, 1.0}) {
      Seconds least = kNever;
      for (std::size_t i = 0; i < alone.size(); ++i) {
        least = std::min(least, weight * sums.again[i] + (1.0 - weight) * alone[i].copies);
      }
      copied = std::max(copied, m / p * (weight * sums.all + num_layers_ * least));
    }
    // All layers of a rank recompute alike, so that none of them takes less than under the best choice for all.
    Seconds least = kNever;
    for (std::size_t i = 0; i < alone.size(); ++i) {
      least = std::min(least, std::max({sums.layer + sums.again[i], sums.with_loss, alone[i].copies}));
    }
    copied = std::max(copied, m / p * (num_layers_ * least));
    memory = std::min(memory, copied);
  }
  return std::max(bound, memory);
}

Seconds PipelineBound::of(const PipelineChoice& choice) {
  Seconds least = kNever;
  for (const int slices : c_.domains.overlap_tp) {
    if (slices != 0 && !operators_.sp) continue;
    least = std::min(least, with(choice, slices != 0));
  }
  return least;
}

std::vector<BoundedPipeline> pipeline_bounds(const FamilyContext& context, const Strategy& operators,
                                             const costmodel::CostModel& cost, costmodel::PieceTimes* pieces) {
  PipelineBound bound(context, operators, cost, pieces);
  std::vector<BoundedPipeline> out;
  for (const PipelineChoice& choice : pipeline_choices(context, operators)) out.push_back({choice, bound.of(choice)});
  return out;
}

}  // namespace orrery::planner
