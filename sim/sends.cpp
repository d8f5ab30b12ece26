// SPDX-License-Identifier: Apache-2.0
#include "sim/sends.h"

#include "base/check.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <variant>

namespace orrery::sim {
namespace {

using costmodel::Leg;
using costmodel::MeetingIndex;
using costmodel::PathClass;

/// A node and how many members of a communication are on it.
struct Sender {
  SiteIndex site = 0;
  std::uint32_t rank = 0;  // one of them
  std::int64_t num_members = 0;
};

void add(Sends& sends, const Send& send, std::span<const Part> parts) {
  if (parts.empty()) return;
  sends.entries.push_back({.send = send,
                           .first_part = static_cast<std::uint32_t>(sends.parts.size()),
                           .num_parts = static_cast<std::uint32_t>(parts.size())});
  sends.parts.insert(sends.parts.end(), parts.begin(), parts.end());
}

/// Bytes and bandwidth of the leg within domains or on the network; zero without.
Leg leg_of(const costmodel::CommTime& time, bool network) {
  const auto legs = time.used_legs();
  const auto leg = std::ranges::find(legs, network, [](const Leg& of) { return is_network(of.path); });
  return leg == legs.end() ? Leg{} : *leg;
}

/// Flows that are all under way weigh as many bytes as they have, `one` of them weighing one, so that they end together
/// where nothing holds one of them up.
void weigh_by_size(std::vector<Part>& parts, Bytes one) {
  constexpr double kLeast = 1e-3;  // SimGrid loses weights that are tiny
  for (Part& part : parts) part.weight = std::max(kLeast, part.size / one);
}

}  // namespace

const Sends& SendMaker::of(MeetingIndex meeting) {
  CHECK(plan_.is_flow(meeting), meeting);
  sends_.entries.clear();
  sends_.parts.clear();
  if (plan_.fidelity[meeting] == Fidelity::l1) {
    fold_into_nodes(meeting);
    return sends_;
  }
  const Pattern pattern = pattern_of(meeting);
  if (is_decided(timed_, plan_.op_of[meeting])) {
    add_pairs(meeting, pattern, payload_of(meeting), sends_);
    return sends_;
  }
  const costmodel::CommTime& time = timed_.time_of(meeting);
  const auto* groups = &plan_.groups->of(meeting, plan_.op_of[meeting]);
  const auto [known, is_new] =
      known_.try_emplace({plan_.fidelity[meeting],
                          groups,
                          pattern,
                          {leg_of(time, false).bytes.in(unit::byte), leg_of(time, true).bytes.in(unit::byte)}});
  if (is_new) add_pairs(meeting, pattern, {}, known->second);
  return known->second;
}

void SendMaker::fold_into_nodes(MeetingIndex meeting) {
  auto participants = timed_.participants_of(meeting);
  const SiteIndex last = plan_.site_of_rank[participants.back()];
  const bool message = timed_.meetings[meeting].message;
  if (message) participants = participants.first(1);
  const PodLinks* pods = plan_.routes != nullptr ? plan_.routes->pods() : nullptr;
  std::vector<Sender> senders;
  for (const std::uint32_t rank : participants) {
    const SiteIndex site = plan_.site_of_rank[rank];
    auto sender = std::ranges::find(senders, site, &Sender::site);
    if (sender == senders.end()) sender = senders.insert(sender, {.site = site, .rank = rank});
    sender->num_members += timed_.ranks[rank].represents_on_node;
  }
  for (const Leg& leg : timed_.time_of(meeting).used_legs()) {
    if (leg.bytes <= Bytes::zero()) continue;
    for (const Sender& sender : senders) {
      const auto members = static_cast<double>(sender.num_members);
      const Send send{.from = sender.site, .cap = leg.bandwidth * members, .weight = members, .at_once = 3};
      const Part whole{.path = leg.path, .to = message ? last : sender.site, .size = leg.bytes * members};
      std::array<Part, 3> parts{whole};
      std::size_t number = 1;
      if (leg.path == PathClass::spine) {
        SharesBelow below{.leaf = 0.0, .pod = pods != nullptr ? 0.0 : 1.0};
        if (pods != nullptr && message)
          below.pod = pods->of(plan_.node_of(sender.site)) == pods->of(plan_.node_of(last)) ? 1.0 : 0.0;
        if (plan_.shares != nullptr && !message) {
          below = plan_.shares->of(meeting, plan_.op_of[meeting], pattern_of(meeting), sender.rank);
        }
        const RouteIndex out =
            below.pod < 1.0 ? plan_.routes->of_pods(plan_.node_of(sender.site), plan_.node_of(whole.to)) : kPooled;
        number = 0;
        Bytes rest = whole.size;
        const auto add_part = [&](PathClass path, RouteIndex route, double share, Bytes size) {
          if (size <= Bytes::zero()) return;
          parts[number++] = {.path = path, .to = whole.to, .size = size, .weight = share, .route = route};
          rest -= size;
        };
        const auto part_of = [&](double share) { return bytes(std::floor(share * whole.size.in(unit::byte))); };
        add_part(PathClass::rail, kPooled, below.leaf, part_of(below.leaf));
        if (below.pod < 1.0) {
          add_part(leg.path, kPooled, below.pod - below.leaf, part_of(below.pod - below.leaf));
          add_part(leg.path, out, 1.0 - below.pod, rest);
        } else {
          add_part(leg.path, kPooled, 1.0 - below.leaf, rest);
        }
      }
      add(sends_, send, std::span(parts).first(number));
    }
  }
}

Pattern SendMaker::pattern_of(MeetingIndex meeting) const {
  if (timed_.meetings[meeting].message) return Pattern::message;
  const OpShape& shape = timed_.program->shapes[timed_.op(plan_.op_of[meeting]).shape];
  if (const auto* exchange = std::get_if<ExchangeShape>(&shape)) {
    return exchange->two_level ? Pattern::two_level : Pattern::all_to_all;
  }
  const auto* collective = std::get_if<CollectiveShape>(&shape);
  CHECK(collective != nullptr, to_string(timed_.op(plan_.op_of[meeting]).key));
  if (collective->kind == CollectiveKind::all_to_all) return Pattern::all_to_all;
  return collective->kind == CollectiveKind::ring_shift ? Pattern::shift : Pattern::ring;
}

Payload SendMaker::payload_of(MeetingIndex meeting) const {
  if (!is_decided(timed_, plan_.op_of[meeting])) return {};
  const Op& op = timed_.op(plan_.op_of[meeting]);
  const auto& exchange = std::get<ExchangeShape>(timed_.program->shapes[op.shape]);
  const StepProgram& program = *timed_.program;
  const Coords& at = timed_.ranks[plan_.op_of[meeting].rank].view.coords;
  const RoutingMatrix rows = placed_routing(timed_.load, program.experts,
                                            {.layer = op.key.layer,
                                             .micro_batch = op.key.micro_batch,
                                             .ep_group = at.edp * program.strategy.etp + at.etp,
                                             .group = program.mesh.ep(),
                                             .num_experts = program.model.moe.value().num_experts,
                                             .pairs_per_rank = exchange.rows.count});
  Payload payload;
  for (std::int64_t from = 0; from < rows.group; ++from) {
    for (std::int64_t to = 0; to < rows.group; ++to) {
      const double sent = exchange.to_experts ? rows.sent(from, to) : rows.sent(to, from);
      payload.push_back(sent * static_cast<double>(exchange.row_bytes) + static_cast<double>(exchange.count_bytes));
    }
  }
  return payload;
}

std::set<RoutedEnd> SendMaker::routed_ends() {
  std::set<RoutedEnd> ends;
  std::set<std::tuple<Fidelity, const std::vector<MemberGroup>*, Pattern, bool, bool>> seen;
  for (MeetingIndex meeting = 0; meeting < timed_.meetings.size(); ++meeting) {
    const Fidelity fidelity = plan_.fidelity[meeting];
    if (fidelity == Fidelity::l0) continue;
    if (fidelity == Fidelity::l1) {
      if (plan_.routes->pods() == nullptr) continue;
      sends_.entries.clear();
      sends_.parts.clear();
      fold_into_nodes(meeting);
      for (const Part& part : sends_.parts) {
        if (part.route != kPooled) ends.insert({.to = part.to, .path = part.path, .route = part.route});
      }
      continue;
    }
    const costmodel::CommTime& time = timed_.time_of(meeting);
    const auto has_leg = [&](bool network) { return leg_of(time, network).bytes > Bytes::zero(); };
    const Pattern pattern = pattern_of(meeting);
    const auto* groups = &plan_.groups->of(meeting, plan_.op_of[meeting]);
    if (!seen.insert({fidelity, groups, pattern, has_leg(false), has_leg(true)}).second) continue;
    Sends sends;  // whatever a router decides, some of these pairs have traffic and no others
    add_pairs(meeting, pattern, {}, sends);
    const bool decided = fidelity == Fidelity::l2 && is_decided(timed_, plan_.op_of[meeting]);
    for (const Part& part : sends.parts) {
      if (part.route == kPooled) continue;
      ends.insert({.to = part.to, .path = part.path, .route = part.route});
      if (!decided) continue;
      const std::int64_t node = plan_.node_of(part.to);  // any of its devices can be the busiest
      for (auto at = plan_.device_sites.lower_bound({.node = node}); at != plan_.device_sites.end(); ++at) {
        if (at->first.node != node) break;
        ends.insert({.to = at->second, .path = part.path, .route = part.route});
      }
    }
  }
  return ends;
}

std::vector<PairBytes> SendMaker::routed(const MemberGroup& group, std::span<const PairBytes> pairs) const {
  std::vector<PairBytes> parts;
  for (const PairBytes& pair : pairs) {
    if (!is_network(pair.path)) {
      parts.push_back(pair);
      continue;
    }
    for (const Routes::Way& way : plan_.routes->between(group.members[pair.from], group.members[pair.to])) {
      PairBytes& part = parts.emplace_back(pair);
      part.size = pair.size * way.share;
      part.route = way.route;
      if (way.route != kPooled && plan_.routes->replace_uplinks()) part.path = PathClass::rail;
    }
  }
  return parts;
}

void SendMaker::add_pairs(MeetingIndex meeting, Pattern pattern, const Payload& payload, Sends& sends) const {
  for (const MemberGroup& group : plan_.groups->of(meeting, plan_.op_of[meeting])) {
    std::vector<PairBytes> pairs = pair_traffic(pattern, group.members, timed_.time_of(meeting), payload);
    add_group(group, std::move(pairs), meeting, !payload.empty(), sends);
  }
}

SendMaker::Ends SendMaker::ends_of(const MemberGroup& group, bool of_nodes) const {
  Ends ends;
  std::map<std::int64_t, std::uint32_t> numbers;
  for (std::size_t i = 0; i < group.members.size(); ++i) {
    auto number = static_cast<std::uint32_t>(i);
    if (of_nodes) {
      const auto next = static_cast<std::uint32_t>(numbers.size());
      number = numbers.try_emplace(group.members[i].node, next).first->second;
    }
    ends.from.push_back(number);
    if (number < ends.sites.size()) continue;
    ends.sites.push_back(of_nodes ? plan_.node_sites.at(group.at[i].node) : plan_.device_sites.at(group.at[i]));
    ends.is_simulated.push_back(group.sends[i]);
    ends.leaf.push_back(group.members[i].leaf);
  }
  ends.num_senders = ends.sites.size();
  ends.to = {ends.from, ends.from};
  for (std::vector<PairEnd>& of_kind : ends.widths) of_kind.resize(ends.sites.size());
  return ends;
}

void SendMaker::set_widths(Ends& ends, const MemberGroup& group, std::span<const PairBytes> pairs, bool network,
                           bool decided) const {
  const std::size_t kind = network ? 1 : 0;
  const auto loads = loads_of(pairs, network);
  struct Members {
    double all = 0.0, most = 0.0;
    double number = 0.0;      // that have something
    std::size_t busiest = 0;  // of them
    void add(std::size_t member, double load) {
      if (load <= 0.0) return;
      all += load;
      number += 1.0;
      if (load > most) busiest = member;
      most = std::max(most, load);
    }
  };
  std::vector<std::array<Members, 2>> of_end(ends.num_senders);
  for (std::size_t member = 0; member < loads.size(); ++member) {
    for (const std::size_t direction : {0, 1})
      of_end[ends.from[member]][direction].add(member, loads[member][direction]);
  }
  std::vector<PairEnd>& widths = ends.widths[kind];
  for (std::size_t end = 0; end < ends.num_senders; ++end) {
    const auto& [out, in] = of_end[end];
    if (out.number > 0.0) widths[end].out = decided ? out.all / out.most : out.number;
    if (in.number > 0.0) widths[end].in = in.number;
    if (!decided || in.number < 2.0) continue;
    ends.to[kind][in.busiest] = static_cast<std::uint32_t>(ends.sites.size());
    ends.sites.push_back(plan_.device_sites.at(group.at[in.busiest]));
    ends.leaf.push_back(group.members[in.busiest].leaf);
    for (std::vector<PairEnd>& of_kind : ends.widths) of_kind.emplace_back();
    widths[end].in = in.number - 1.0;
  }
}

void SendMaker::add_group(const MemberGroup& group, std::vector<PairBytes> pairs, MeetingIndex meeting, bool decided,
                          Sends& sends) const {
  const bool of_nodes = plan_.fidelity[meeting] == Fidelity::l2;
  Ends ends = ends_of(group, of_nodes);
  if (plan_.routes != nullptr) pairs = routed(group, pairs);
  std::array<double, 2> most{};  // that a member sends
  for (const bool network : {false, true}) {
    for (const auto& load : loads_of(pairs, network)) most[network] = std::max(most[network], load[0]);
    set_widths(ends, group, pairs, network, decided);
  }
  if (of_nodes) pairs = between_ends(pairs, ends.from, ends.to);
  // With routes of their own flows end at few dates as they are, and cables have to carry what they carry.
  const bool on_ports = plan_.routes == nullptr || plan_.routes->pods() != nullptr;
  if (of_nodes && decided && on_ports) {
    for (const bool network : {false, true}) {
      const PodLinks* pods = plan_.routes != nullptr ? plan_.routes->pods() : nullptr;
      for (std::size_t end = 0; end < ends.sites.size(); ++end) {
        PairEnd& width = ends.widths[network][end];
        if (plan_.shares != nullptr) width.leaf = ends.leaf[end];
        if (pods != nullptr) width.pod = pods->of(plan_.node_of(ends.sites[end]));
      }
      quantise(pairs, network, ends.widths[network]);
    }
  }
  std::vector<Part> parts[2];
  for (std::size_t i = 0; i < pairs.size();) {
    const std::uint32_t from = pairs[i].from;
    for (std::vector<Part>& of_kind : parts) of_kind.clear();
    for (; i < pairs.size() && pairs[i].from == from; ++i) {
      const std::size_t kind = is_network(pairs[i].path) ? 1 : 0;
      const Bytes size = bytes(std::ceil(pairs[i].size.in(unit::byte)));
      parts[kind].push_back(
          {.path = pairs[i].path, .to = ends.sites[pairs[i].to], .size = size, .route = pairs[i].route});
    }
    if (!ends.is_simulated[from]) continue;
    for (const bool network : {false, true}) {
      std::vector<Part>& of_kind = parts[network];
      const double width = ends.widths[network][from].out;
      Send send{.from = ends.sites[from],
                .cap = leg_of(timed_.time_of(meeting), network).bandwidth * width,
                .weight = width,
                .at_once = plan_.at_once};
      if (decided) {
        send.weight = 1.0;
        weigh_by_size(of_kind, bytes(most[network]));
      } else if (plan_.routes != nullptr) {
        Bytes all;
        for (const Part& part : of_kind) all += part.size;
        weigh_by_size(of_kind, all);
      }
      add(sends, send, of_kind);
    }
  }
}

}  // namespace orrery::sim
