// SPDX-License-Identifier: Apache-2.0
#include "sim/platform_worker.h"

#include "base/errors.h"
#include "sim/child_process.h"
#include "sim/compat.hpp"

#include <algorithm>
#include <csignal>
#include <iterator>
#include <map>
#include <span>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/prctl.h>

namespace orrery::sim {
namespace {

namespace s4u = simgrid::s4u;

/// The first ones, and how many more there are.
std::string few_of(const std::vector<std::string>& names) {
  constexpr std::size_t kShown = 8;
  const auto shown = std::span(names).first(std::min(names.size(), kShown));
  const std::string more = names.size() > kShown ? fmt::format(" and {} more", names.size() - kShown) : "";
  return fmt::format("{}{}", fmt::join(shown, ", "), more);
}

std::vector<s4u::Host*> hosts_of(const PlatformRequest& request) {
  std::vector<s4u::Host*> hosts;
  std::vector<std::string> missing;
  for (const std::string& name : request.hosts) {
    hosts.push_back(s4u::Host::by_name_or_null(name));
    if (hosts.back() == nullptr) missing.push_back(name);
  }
  if (missing.empty()) return hosts;
  std::string hint = "the platform has no hosts";
  const std::vector<s4u::Host*> all = s4u::Engine::get_instance()->get_all_hosts();
  if (!all.empty()) {
    hint = fmt::format(
        "the platform has {} hosts, such as {}; the key hosts says how nodes are named, \"h{{node+1}}\" "
        "where they count from one",
        all.size(), all.front()->get_name());
  }
  throw ConfigError({Problem{.file = request.file,
                             .message = fmt::format("expected {} hosts, got a platform without {} of them: {}",
                                                    hosts.size(), missing.size(), few_of(missing)),
                             .hint = hint}});
}

void load(s4u::Engine& engine, const std::string& file) {
  std::string reason;
  try {
    engine.load_platform(file);
    return;
  } catch (const std::exception& error) {
    reason = error.what();
  }
  throw ConfigError({Problem{.file = file, .message = fmt::format("expected a platform of SimGrid, got: {}", reason)}});
}

}  // namespace

PlatformRoutes routes_in(const PlatformRequest& request) {
  static char name[] = "orrery", quiet[] = "--log=root.thresh:critical";
  char* arguments[] = {name, quiet, nullptr};
  int count = 2;
  s4u::Engine engine(&count, arguments);
  load(engine, request.file);
  const std::vector<s4u::Host*> hosts = hosts_of(request);
  PlatformRoutes found;
  std::map<const s4u::Link*, std::size_t> number;
  std::vector<std::string> unreached;
  for (const HostPair& pair : request.pairs) {
    std::vector<s4u::Link*> links;
    double latency = 0.0;
    try {
      hosts[pair.from]->route_to(hosts[pair.to], links, &latency);
    } catch (const std::exception&) {  // some routings say so, others answer with no links
      links.clear();
    }
    PlatformRoute& route = found.routes.emplace_back();
    route.latency = seconds(latency);
    for (const s4u::Link* link : links) {
      const auto [entry, is_new] = number.try_emplace(link, found.links.size());
      if (is_new) {
        found.links.push_back({.name = link->get_name(),
                               .bandwidth = bytes_per_second(link->get_bandwidth()),
                               .is_shared = link->get_sharing_policy() != s4u::Link::SharingPolicy::FATPIPE});
      }
      route.links.push_back(entry->second);
    }
    if (links.empty()) {
      unreached.push_back(fmt::format("{} and {}", request.hosts[pair.from], request.hosts[pair.to]));
    }
  }
  std::vector<std::string> without;
  for (const PlatformLink& link : found.links) {
    if (!(link.bandwidth > BytesPerSecond::zero())) without.push_back(link.name);
  }
  std::vector<Problem> problems;
  if (!without.empty()) {
    problems.push_back({.file = request.file,
                        .message = fmt::format("expected a bandwidth above zero, got none on {} of {} links: {}",
                                               without.size(), found.links.size(), few_of(without))});
  }
  if (!unreached.empty()) {
    problems.push_back({.file = request.file,
                        .message = fmt::format("expected links between {} pairs of hosts, got none for {} of them: {}",
                                               request.pairs.size(), unreached.size(), few_of(unreached))});
  }
  if (!problems.empty()) throw ConfigError(std::move(problems));
  return found;
}

int platform_main(std::istream& in, std::ostream& out, std::ostream& errors) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // nobody would read the answer
  return exit_code_of(
      [&] {
        const std::string text(std::istreambuf_iterator<char>(in), {});
        out << to_json(routes_in(read_platform_request(text)));
      },
      errors);
}

}  // namespace orrery::sim
