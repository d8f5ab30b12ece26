// SPDX-License-Identifier: Apache-2.0
#include "costmodel/op_timer.h"

#include "base/check.h"
#include "costmodel/exchange_multiprocessors.h"
#include "program/arrivals.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

namespace orrery::costmodel {
namespace {

constexpr std::size_t kNumPasses = static_cast<std::size_t>(Pass::update) + 1;

struct GroupOfShape {
  Group operator()(const CollectiveShape& s) const { return s.group; }
  Group operator()(const ExchangeShape& s) const { return s.group; }
  Group operator()(const PeerShape& s) const { return s.peer; }
  Group operator()(const CopyShape&) const { return Group::self; }
  template <class ComputeShape>
  Group operator()(const ComputeShape&) const {
    CHECK(false, "a compute shape has no group");
  }
};

const Rows* rows_of(const OpShape& shape) {
  if (const auto* grouped = std::get_if<GroupedGemmShape>(&shape)) return &grouped->rows;
  if (const auto* memory = std::get_if<MemoryShape>(&shape)) return &memory->rows;
  if (const auto* collective = std::get_if<CollectiveShape>(&shape)) return &collective->rows;
  if (const auto* exchange = std::get_if<ExchangeShape>(&shape)) return &exchange->rows;
  if (const auto* copy = std::get_if<CopyShape>(&shape)) return &copy->rows;
  return nullptr;
}

/// Whether the size of what an op works on is the router's decision.
bool is_routed(const OpShape& shape) {
  const Rows* rows = rows_of(shape);
  return rows != nullptr && rows->kind != Rows::Kind::fixed;
}

/// A shape whose rows are resolved into its bytes.
template <class Shape>
Shape with_rows(const Shape& shape, const ResolvedLoad& load) {
  Shape resolved = shape;
  resolved.bytes += std::llround(std::ceil(resolve(shape.rows, load) * static_cast<double>(shape.row_bytes)));
  resolved.rows = {};
  resolved.row_bytes = 0;
  return resolved;
}

}  // namespace

Group group_of(const OpShape& shape) { return std::visit(GroupOfShape{}, shape); }

OpTimer::OpTimer(const StepProgram& program, const CostModel& model, const SimulatedRanks& simulated,
                 const RunInput& input)
    : program_(program),
      model_(model),
      simulated_(simulated),
      load_(input.load),
      balanced_(is_balanced(input.load)),
      differs_by_group_(differs_by_group(input.load)),
      sequences_(input.sequences),
      fixed_(is_fixed(input.sequences)),
      held_(held_by_exchanges(model, program.model, program.strategy, program.mesh,
                              [&](RankId rank) { return simulated.device_of(rank); })) {}

void OpTimer::enter(std::size_t rank) {
  rank_ = &simulated_.ranks()[rank];
  const std::size_t device_kind = simulated_.device_group(rank_->device);
  table_ = &compute_times_[device_kind];
  if (table_->empty()) {
    table_->assign(program_.shapes.size() * kNumPasses * kNumOpCodes, std::nullopt);
  }
  const std::int64_t ep_group = program_.mesh.group_index(Group::ep, rank_->view.rank);
  if (ep_group != ep_group_ && differs_by_group_) routings_.clear();
  ep_group_ = ep_group;
  routed_sent_.clear();
  if (fixed_) return;
  attention_times_.clear();
  if (rank_->view.coords.dp != dp_rank_) documents_.assign(static_cast<std::size_t>(program_.num_micro_batches), {});
  dp_rank_ = rank_->view.coords.dp;
}

double OpTimer::share_of(const AttentionShape& shape, const OpKey& key) {
  const Coords& at = rank_->view.coords;
  const std::int64_t num_sequences = program_.strategy.micro_batch, seq = program_.batch.seq;
  std::vector<Documents>& sequences = documents_.at(static_cast<std::size_t>(key.micro_batch));
  if (sequences.empty()) {
    const std::int64_t first = first_sequence(0, program_.batch.global_batch, at.dp, program_.num_micro_batches,
                                              num_sequences, key.micro_batch);
    for (std::int64_t i = 0; i < num_sequences; ++i) sequences.push_back(documents(sequences_, first + i, seq));
  }
  double share = 0.0;
  for (const Documents& of_sequence : sequences) {
    share += attention_share(of_sequence, mask_of(shape), seq, slice_of(program_.strategy, at.cp, key.bucket));
  }
  return share / static_cast<double>(num_sequences);
}

const RoutingMatrix& OpTimer::routing_of(const Op& op, std::int64_t pairs_per_rank, std::int64_t etp) {
  CHECK(program_.model.moe.has_value(), to_string(op.key));
  // A balanced router does the same everywhere, an assumed one in all micro-batches and groups.
  const std::array<std::int64_t, 4> where{balanced_ ? 0 : op.key.layer, differs_by_group_ ? op.key.micro_batch : 0,
                                          differs_by_group_ ? etp : 0, pairs_per_rank};
  const auto [found, is_new] = routings_.try_emplace(where);
  if (is_new) {
    const Coords& at = rank_->view.coords;
    found->second = placed_routing(load_, program_.experts,
                                   {.layer = op.key.layer,
                                    .micro_batch = op.key.micro_batch,
                                    .ep_group = at.edp * program_.strategy.etp + etp,
                                    .group = program_.mesh.ep(),
                                    .num_experts = program_.model.moe->num_experts,
                                    .pairs_per_rank = pairs_per_rank});
  }
  return found->second;
}

ResolvedLoad OpTimer::load_of(const Op& op, const Rows& rows) {
  if (rows.kind == Rows::Kind::fixed || rows.kind == Rows::Kind::routed) return {};
  const Coords& at = rank_->view.coords;
  const std::int64_t etp = program_.strategy.etp;
  ResolvedLoad load;
  if (balanced_ && rows.kind == Rows::Kind::distinct) {
    load.distinct = static_cast<double>(rows.count);
  } else if (rows.kind == Rows::Kind::gathered) {
    const std::int64_t pairs = rows.count / etp;
    for (std::int64_t peer = 0; peer < etp; ++peer) {
      const std::vector<double> rows_of_peer = routing_of(op, pairs, peer).per_local_expert(at.ep);
      load.rows_per_expert.resize(rows_of_peer.size());
      for (std::size_t i = 0; i < rows_of_peer.size(); ++i) load.rows_per_expert[i] += rows_of_peer[i];
    }
    load.gathered = std::accumulate(load.rows_per_expert.begin(), load.rows_per_expert.end(), 0.0);
  } else {
    const std::int64_t pairs = rows.kind == Rows::Kind::distinct
                                   ? pairs_per_rank(program_.model, program_.strategy, program_.batch)
                                   : rows.count;
    const RoutingMatrix& routing = routing_of(op, pairs, at.etp);
    load.rows_per_expert = routing.per_local_expert(at.ep);
    load.received = std::accumulate(load.rows_per_expert.begin(), load.rows_per_expert.end(), 0.0);
    load.distinct = routing.tokens_received(at.ep).value_or(static_cast<double>(rows.count) * load.received /
                                                            static_cast<double>(pairs));
  }
  return load;
}

bool OpTimer::is_new_each_time(const OpShape& shape) const { return differs_by_group_ && is_routed(shape); }

OpTime OpTimer::compute(const Op& op) {
  const OpShape& shape = program_.shapes[op.shape];
  const Rows* rows = rows_of(shape);
  const auto ask_with = [&](const ResolvedLoad& load) {
    OpTime time = model_.compute(op.key, shape, load, rank_->device);
    if (held_) time.slowdown_by_exchange = model_.slowdown_beside(*held_, op.key, shape, load, rank_->device);
    if (time.extrapolated) extrapolated_.set(static_cast<std::size_t>(op.key.op));
    return time;
  };
  const auto ask_model = [&] { return ask_with(rows ? load_of(op, *rows) : ResolvedLoad{}); };
  if (is_new_each_time(shape)) return ask_model();
  if (!balanced_ && is_routed(shape)) {
    const auto [known, is_new] = routed_times_.try_emplace(
        {static_cast<std::int64_t>(simulated_.device_group(rank_->device)), rank_->view.coords.ep, op.key.layer,
         op.shape, static_cast<std::int64_t>(op.key.pass), static_cast<std::int64_t>(op.key.op)});
    if (is_new) known->second = ask_model();
    return known->second;
  }
  if (const auto* attention = fixed_ ? nullptr : std::get_if<AttentionShape>(&shape)) {
    const auto [known, is_new] =
        attention_times_.try_emplace({op.key.micro_batch, op.shape, op.key.pass, op.key.op, op.key.bucket});
    if (is_new) known->second = ask_with({.attention_share = share_of(*attention, op.key)});
    return known->second;
  }
  std::optional<OpTime>& known =
      (*table_)[(std::size_t{op.shape} * kNumPasses + static_cast<std::size_t>(op.key.pass)) * kNumOpCodes +
                static_cast<std::size_t>(op.key.op)];
  if (!known) known = ask_model();
  return *known;
}

CommTime OpTimer::ask(const OpShape& shape, const Op& op, std::span<const DeviceIndex> members) {
  if (const auto* copy = std::get_if<CopyShape>(&shape)) {
    return model_.copy(with_rows(*copy, load_of(op, copy->rows)), members.front());
  }
  if (members.size() < 2) return {};
  if (const auto* collective = std::get_if<CollectiveShape>(&shape)) {
    return model_.collective(with_rows(*collective, load_of(op, collective->rows)), members);
  }
  if (const auto* exchange = std::get_if<ExchangeShape>(&shape)) {
    return model_.exchange(*exchange, routing_of(op, exchange->rows.count, rank_->view.coords.etp), members);
  }
  const PeerShape& peer = std::get<PeerShape>(shape);
  return peer.send ? model_.peer(peer, members[0], members[1]) : model_.peer(peer, members[1], members[0]);
}

CommTime OpTimer::comm(const Op& op) {
  const OpShape& shape = program_.shapes[op.shape];
  const Group group = group_of(shape);
  const bool edge = group == Group::pp_next || group == Group::pp_prev;
  const RankId self = rank_->view.rank;
  const std::int64_t lowest = edge ? self.value() : program_.mesh.group_index(group, self);
  const std::int64_t layer = !balanced_ && is_routed(shape) ? op.key.layer : OpKey::kNoLayer;
  auto [known, is_new] = comm_times_.try_emplace({op.shape, lowest, layer});
  if (is_new || is_new_each_time(shape)) known->second = slowest_of(op, group, lowest);
  if (known->second.extrapolated) extrapolated_.set(static_cast<std::size_t>(op.key.op));
  return known->second;
}

CommTime OpTimer::slowest_of(const Op& op, Group group, std::int64_t lowest) {
  const OpShape& shape = program_.shapes[op.shape];
  const auto [places, is_new] = devices_.try_emplace({group, lowest});
  if (is_new) places->second = simulated_.devices(group, rank_->view.rank);
  CommTime slowest = ask(shape, op, places->second.front());
  for (std::size_t i = 1; i < places->second.size(); ++i) {
    const CommTime other = ask(shape, op, places->second[i]);
    if (other.alone() > slowest.alone()) slowest = other;
  }
  return slowest;
}

Bytes OpTimer::sent(const Op& op) {
  const OpShape& shape = program_.shapes[op.shape];
  const bool routed = !balanced_ && is_routed(shape);
  const auto [known, is_new] =
      (routed ? routed_sent_ : sent_).try_emplace({op.shape, routed ? op.key.layer : OpKey::kNoLayer});
  if (!is_new && !is_new_each_time(shape)) return known->second;
  Bytes& payload = known->second;
  if (const auto* collective = std::get_if<CollectiveShape>(&shape)) {
    payload = wire_bytes(with_rows(*collective, load_of(op, collective->rows)), program_.mesh.size(collective->group));
  } else if (const auto* exchange = std::get_if<ExchangeShape>(&shape)) {
    payload = wire_bytes(*exchange, routing_of(op, exchange->rows.count, rank_->view.coords.etp),
                         program_.mesh.index_in_group(exchange->group, rank_->view.rank));
  } else if (const auto* peer = std::get_if<PeerShape>(&shape); peer != nullptr && peer->send) {
    payload = bytes(static_cast<double>(peer->bytes));
  }
  return payload;
}

std::vector<std::string> OpTimer::extrapolated() const {
  std::vector<std::string> names;
  for (std::size_t code = 0; code < extrapolated_.size(); ++code) {
    if (extrapolated_.test(code)) names.emplace_back(name_of(static_cast<OpCode>(code)));
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace orrery::costmodel
