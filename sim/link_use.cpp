// SPDX-License-Identifier: Apache-2.0
#include "sim/link_use.h"

#include "base/check.h"
#include "sim/flow_plan.h"
#include "sim/sends.h"

#include <algorithm>
#include <array>

namespace orrery::sim {
namespace {

using costmodel::MeetingIndex;
using costmodel::TimedProgram;
using costmodel::TimedRank;

constexpr std::size_t kNumSlices = 1000;
/// A link with what went over it in each slice.
struct Link {
  Bytes size;
  std::vector<double> slices;  // bytes; none while nothing went over it
};

class Links {
 public:
  Links(const Network& network, Seconds step)
      : network_(network), slice_(step / static_cast<double>(kNumSlices)), links_(2 * network.ports().size()) {}

  void add(SiteIndex from, const Part& part, Seconds start, Seconds end) {
    for (const PortIndex port : network_.way(from, part.path))
      add(links_[2 * std::size_t{port}], part.size, start, end);
    for (const PortIndex port : network_.way(part.to, part.path))
      add(links_[2 * std::size_t{port} + 1], part.size, start, end);
  }

  UseOfLinks use() const {
    UseOfLinks use{.links = {}, .slice = slice_, .tracks = {}};
    std::array<double, kNumLinkClasses> num_links{};
    std::array<Bytes, kNumLinkClasses> all{}, cut{};
    for (std::size_t i = 0; i < links_.size(); ++i) {
      const Link& link = links_[i];
      if (link.slices.empty()) continue;
      const Port& port = network_.ports()[i / 2];
      const double capacity = (port.bandwidth * slice_).in(unit::byte);
      const auto link_class = static_cast<std::size_t>(port.link_class);
      std::vector<double>& track = use.tracks[link_class];
      track.resize(kNumSlices);
      num_links[link_class] += 1.0;
      all[link_class] += link.size;
      double peak = 0.0;
      for (std::size_t slice = 0; slice < kNumSlices; ++slice) {
        const double wanted = link.slices[slice] / capacity, used = std::min(1.0, wanted);
        use.fullest = std::max(use.fullest, wanted);
        cut[link_class] += bytes((wanted - used) * capacity);
        peak = std::max(peak, used);
        track[slice] += used;
      }
      use.links.push_back({.name = port.name + (i % 2 == 0 ? ".out" : ".in"),
                           .link_class = port.link_class,
                           .size = link.size,
                           .mean = link.size / (port.bandwidth * slice_ * static_cast<double>(kNumSlices)),
                           .peak = peak});
    }
    for (std::size_t i = 0; i < num_links.size(); ++i) {
      for (double& used : use.tracks[i]) used /= num_links[i];
      if (all[i] > Bytes::zero()) use.cut[i] = cut[i] / all[i];
    }
    std::ranges::stable_sort(use.links, [](const LinkUse& a, const LinkUse& b) { return a.mean > b.mean; });
    return use;
  }

 private:
  void add(Link& link, Bytes size, Seconds start, Seconds end) const {
    link.slices.resize(kNumSlices);
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

  const Network& network_;
  const Seconds slice_;
  std::vector<Link> links_;  // out and in of each port
};

}  // namespace

UseOfLinks use_of_links(const TimedProgram& timed, const Cluster& cluster, const Fidelities& fidelities,
                        const Trace& trace) {
  CHECK(trace.steps.size() == 1, trace.steps.size());
  FlowPlan plan = plan_flows(timed, cluster, fidelities);
  const Network network = join_network(cluster, {&plan, 1}, timed.disturbances.on_links());
  Links links(network, trace.steps.front().time);
  std::vector<bool> is_done(timed.meetings.size());
  SendMaker maker(timed, plan);
  std::size_t span = 0;
  for (const TimedRank& rank : timed.ranks) {
    for (const MeetingIndex meeting : rank.meeting) {
      CHECK(span < trace.spans.size() && trace.spans.rank()[span] == rank.view.rank.value(), span, rank.view.rank);
      const std::size_t at = span++;
      if (meeting == costmodel::kNoMeeting || !plan.is_flow(meeting) || is_done[meeting]) continue;
      is_done[meeting] = true;
      const Sends& sends = maker.of(meeting);
      const Seconds start = seconds(trace.spans.start()[at]) + timed.meetings[meeting].time.latency;
      for (const Sends::Entry& entry : sends.entries) {
        for (const Part& part : sends.parts_of(entry)) {
          links.add(entry.send.from, part, start, seconds(trace.spans.end()[at]));
        }
      }
    }
  }
  return links.use();
}

}  // namespace orrery::sim
