// SPDX-License-Identifier: Apache-2.0
#include "sim/link_use.h"

#include "base/check.h"
#include "sim/flow_plan.h"
#include "sim/platform.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <tuple>

#include <fmt/format.h>

namespace orrery::sim {
namespace {

using costmodel::MeetingIndex;
using costmodel::PathClass;
using costmodel::TimedProgram;
using costmodel::TimedRank;

constexpr std::size_t kNumSlices = 1000;
constexpr std::array<std::string_view, kNumLinkClasses> kPorts = {"scale_up", "nic", "uplink"};

/// A link with what went over it in each slice.
struct Link {
  BytesPerSecond bandwidth;
  Bytes size;
  std::vector<double> slices;  // bytes
};

class Links {
 public:
  Links(const Cluster& cluster, const FlowPlan& plan, const TimedProgram& timed, Seconds step)
      : cluster_(cluster), plan_(plan), slice_(step / static_cast<double>(kNumSlices)) {
    for (std::size_t rank = 0; rank < timed.ranks.size(); ++rank) {
      group_of_[plan.node_of[rank]] = cluster.locate(timed.ranks[rank].device).group;
    }
  }

  void add(const Flow& flow, Seconds start, Seconds end) {
    for (const bool out : {true, false}) {
      const std::int64_t node = out ? flow.from : flow.to;
      if (flow.path == PathClass::node) {
        add(node, LinkClass::scale_up, out, flow.size, start, end);
        continue;
      }
      add(node, LinkClass::nic, out, flow.size, start, end);
      if (flow.path == PathClass::spine) add(node, LinkClass::uplink, out, flow.size, start, end);
    }
  }

  UseOfLinks use() const {
    UseOfLinks use{.links = {}, .slice = slice_, .tracks = {}};
    std::array<double, kNumLinkClasses> num_links{};
    for (const auto& [key, link] : links_) {
      const auto& [node, link_class, inwards] = key;
      const double capacity = (link.bandwidth * slice_).in(unit::byte);
      std::vector<double>& track = use.tracks[static_cast<std::size_t>(link_class)];
      track.resize(kNumSlices);
      num_links[static_cast<std::size_t>(link_class)] += 1.0;
      double peak = 0.0;
      for (std::size_t i = 0; i < kNumSlices; ++i) {
        const double used = std::min(1.0, link.slices[i] / capacity);
        peak = std::max(peak, used);
        track[i] += used;
      }
      use.links.push_back({.name = fmt::format("node{}.{}.{}", node, kPorts.at(static_cast<std::size_t>(link_class)),
                                               inwards ? "in" : "out"),
                           .link_class = link_class,
                           .size = link.size,
                           .mean = link.size / (link.bandwidth * slice_ * static_cast<double>(kNumSlices)),
                           .peak = peak});
    }
    for (std::size_t i = 0; i < num_links.size(); ++i) {
      for (double& used : use.tracks[i]) used /= num_links[i];
    }
    std::ranges::stable_sort(use.links, [](const LinkUse& a, const LinkUse& b) { return a.mean > b.mean; });
    return use;
  }

 private:
  void add(std::int64_t node, LinkClass link_class, bool out, Bytes size, Seconds start, Seconds end) {
    const auto [found, is_new] = links_.try_emplace({node, link_class, !out});
    Link& link = found->second;
    if (is_new) {
      link.slices.resize(kNumSlices);
      const NodePorts ports = ports_of(cluster_, group_of_.at(node), plan_.used);
      link.bandwidth = link_class == LinkClass::scale_up ? ports.scale_up
                       : link_class == LinkClass::nic    ? ports.nic
                                                         : ports.uplink;
    }
    link.size += size;
    const double first = start / slice_, last = end / slice_;
    const std::size_t begin = slice_at(first), stop = slice_at(last);
    const double num_bytes = size.in(unit::byte);
    if (begin == stop) {
      link.slices[begin] += num_bytes;
      return;
    }
    const double per_slice = num_bytes / (last - first);
    link.slices[begin] += per_slice * (static_cast<double>(begin + 1) - first);
    for (std::size_t i = begin + 1; i < stop; ++i) link.slices[i] += per_slice;
    link.slices[stop] += per_slice * (last - static_cast<double>(stop));
  }

  static std::size_t slice_at(double date) {
    return std::min(static_cast<std::size_t>(std::max(date, 0.0)), kNumSlices - 1);
  }

  const Cluster& cluster_;
  const FlowPlan& plan_;
  const Seconds slice_;
  std::map<std::int64_t, std::size_t> group_of_;                     // by node
  std::map<std::tuple<std::int64_t, LinkClass, bool>, Link> links_;  // by node, class, and whether it leads in
};

}  // namespace

std::string_view name_of(LinkClass link_class) {
  constexpr std::array<std::string_view, kNumLinkClasses> kNames = {"scale-up", "NIC", "uplink"};
  return kNames.at(static_cast<std::size_t>(link_class));
}

UseOfLinks use_of_links(const TimedProgram& timed, const Cluster& cluster, Fidelity fidelity, const Trace& trace) {
  CHECK(trace.steps.size() == 1, trace.steps.size());
  const FlowPlan plan = plan_flows(timed, cluster, fidelity);
  Links links(cluster, plan, timed, trace.steps.front().time);
  std::vector<bool> is_done(timed.meetings.size());
  std::vector<Flow> flows;
  std::size_t span = 0;
  for (const TimedRank& rank : timed.ranks) {
    for (const MeetingIndex meeting : rank.meeting) {
      CHECK(span < trace.spans.size() && trace.spans.rank()[span] == rank.view.rank.value(), span, rank.view.rank);
      const std::size_t at = span++;
      if (meeting == costmodel::kNoMeeting || !plan.as_flows[meeting] || is_done[meeting]) continue;
      is_done[meeting] = true;
      flows.clear();
      append_flows(timed, plan, meeting, flows);
      const Seconds start = seconds(trace.spans.start()[at]) + timed.meetings[meeting].time.latency;
      for (const Flow& flow : flows) links.add(flow, start, seconds(trace.spans.end()[at]));
    }
  }
  return links.use();
}

}  // namespace orrery::sim
