// SPDX-License-Identifier: Apache-2.0
#include "sim/link_use.h"

#include "base/check.h"
#include "sim/flow_plan.h"
#include "sim/link_changes.h"
#include "sim/sends.h"

#include <algorithm>
#include <optional>
#include <span>
#include <tuple>

namespace orrery::sim {
namespace {

using costmodel::MeetingIndex;
using costmodel::TimedProgram;

constexpr std::size_t kNumSlices = 1000;
/// A link with what went over it in each slice.
struct Link {
  std::string name, link_class;
  std::vector<double> capacity;  // bytes in a slice; one number if it is the same for all
  Bytes size;
  std::vector<double> slices;  // bytes; none while nothing went over it
};

class Links {
 public:
  /// `changes`: of the ports, by date.
  Links(const Network& network, Seconds step, std::span<const LinkChange> changes)
      : network_(network), slice_(step / static_cast<double>(kNumSlices)) {
    for (const Port& port : network.ports()) {
      for (const char* direction : {".out", ".in"}) {
        links_.push_back({.name = port.name + direction,
                          .link_class = std::string(name_of(kLinkClassLabels, port.link_class)),
                          .capacity = {capacity_at(port.bandwidth)},
                          .size = {},
                          .slices = {}});
      }
    }
    for (const LinkChange& change : changes) {
      set_bandwidth(links_[2 * std::size_t{change.port} + (change.inwards ? 1 : 0)], change);
    }
    if (network.routes() == nullptr) return;
    for (const RouteLink& link : network.routes()->links()) {
      links_.push_back({.name = link.name,
                        .link_class = link.label,
                        .capacity = {capacity_at(link.bandwidth)},
                        .size = {},
                        .slices = {}});
    }
  }

  void add(SiteIndex from, const Part& part, Seconds start, Seconds end) {
    for (const PortIndex port : network_.way(from, part.path))
      add(links_[2 * std::size_t{port}], part.size, start, end);
    for (const PortIndex port : network_.way(part.to, part.path))
      add(links_[2 * std::size_t{port} + 1], part.size, start, end);
    if (part.route == kPooled) return;
    const std::size_t first = 2 * network_.ports().size();
    for (const std::uint32_t link : network_.routes()->links_of(part.route)) {
      add(links_[first + link], part.size, start, end);
    }
  }

  UseOfLinks use() const {
    UseOfLinks use{.links = {}, .slice = slice_, .classes = {}};
    struct Sums {
      double num_links = 0.0;
      Bytes all, cut;
    };
    std::vector<Sums> sums;  // by class
    for (const Link& link : links_) {
      if (link.slices.empty()) continue;
      const std::size_t number = class_of(link, use);
      sums.resize(use.classes.size());
      Sums& of_class = sums[number];
      std::vector<double>& track = use.classes[number].track;
      of_class.num_links += 1.0;
      of_class.all += link.size;
      double peak = 0.0, could = 0.0;
      for (std::size_t slice = 0; slice < kNumSlices; ++slice) {
        const double capacity = link.capacity[link.capacity.size() == 1 ? 0 : slice];
        could += capacity;
        if (capacity <= 0.0) {  // it is down, and what moves on moves later
          of_class.cut += bytes(link.slices[slice]);
          continue;
        }
        const double wanted = link.slices[slice] / capacity, used = std::min(1.0, wanted);
        use.fullest = std::max(use.fullest, wanted);
        of_class.cut += bytes((wanted - used) * capacity);
        peak = std::max(peak, used);
        track[slice] += used;
      }
      use.links.push_back({.name = link.name,
                           .link_class = link.link_class,
                           .size = link.size,
                           .mean = could > 0.0 ? link.size.in(unit::byte) / could : 0.0,
                           .peak = peak});
    }
    for (std::size_t i = 0; i < sums.size(); ++i) {
      for (double& used : use.classes[i].track) used /= sums[i].num_links;
      if (sums[i].all > Bytes::zero()) use.classes[i].cut = sums[i].cut / sums[i].all;
    }
    order(use.classes);
    std::ranges::stable_sort(use.links, [](const LinkUse& a, const LinkUse& b) { return a.mean > b.mean; });
    return use;
  }

 private:
  double capacity_at(BytesPerSecond bandwidth) const { return (bandwidth * slice_).in(unit::byte); }

  /// From the date of the change to the end of the step.
  void set_bandwidth(Link& link, const LinkChange& change) const {
    link.capacity.resize(kNumSlices, link.capacity.front());
    const double from = change.date / slice_, capacity = capacity_at(change.bandwidth);
    for (std::size_t slice = slice_at(from); slice < kNumSlices; ++slice) {
      const double before = std::clamp(from - static_cast<double>(slice), 0.0, 1.0);
      link.capacity[slice] = before * link.capacity[slice] + (1.0 - before) * capacity;
    }
  }

  /// Of the use; a new one if this is the first link of its class.
  static std::size_t class_of(const Link& link, UseOfLinks& use) {
    const auto known = std::ranges::find(use.classes, link.link_class, &UseOfLinks::Class::name);
    if (known != use.classes.end()) return static_cast<std::size_t>(known - use.classes.begin());
    use.classes.push_back({.name = link.link_class, .track = std::vector<double>(kNumSlices)});
    return use.classes.size() - 1;
  }

  /// From devices outwards, those between switches last.
  static void order(std::vector<UseOfLinks::Class>& classes) {
    std::ranges::sort(classes, {}, [](const UseOfLinks::Class& of) {
      const std::optional<LinkClass> of_ports = find_named(kLinkClassLabels, of.name);
      return std::tuple(!of_ports, of_ports.value_or(LinkClass::uplink), of.name);
    });
  }

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
  std::vector<Link> links_;  // out and in of each port, then those of routes
};

}  // namespace

UseOfLinks use_of_links(const TimedProgram& timed, const Cluster& cluster, const Fidelities& fidelities,
                        const StepDates& dates, PathSeed seed) {
  CHECK(dates.ranks.size() == timed.ranks.size(), dates.ranks.size(), timed.ranks.size());
  FlowPlan plan = plan_flows(timed, cluster, fidelities, routes_of(cluster, seed, are_in_pairs(fidelities)));
  const Network network = join_network(cluster, {&plan, 1}, timed.disturbances.on_links());
  Links links(network, dates.makespan, link_changes(timed.disturbances, cluster, network));
  std::vector<bool> is_done(timed.meetings.size());
  SendMaker maker(timed, plan);
  for (std::size_t rank = 0; rank < timed.ranks.size(); ++rank) {
    const std::vector<MeetingIndex>& meetings = timed.ranks[rank].meeting;
    for (OpIndex op = 0; op < meetings.size(); ++op) {
      const MeetingIndex meeting = meetings[op];
      if (meeting == costmodel::kNoMeeting || !plan.is_flow(meeting) || is_done[meeting]) continue;
      is_done[meeting] = true;
      const Sends& sends = maker.of(meeting);
      const Seconds start = dates.start[meeting] + timed.time_of(meeting).latency;
      for (const Sends::Entry& entry : sends.entries) {
        for (const Part& part : sends.parts_of(entry)) {
          links.add(entry.send.from, part, start, dates.ranks[rank].end[op]);
        }
      }
    }
  }
  return links.use();
}

}  // namespace orrery::sim
