// SPDX-License-Identifier: Apache-2.0
#include "sim/platform_import.h"

#include "base/errors.h"
#include "base/files.h"
#include "base/json_reader.h"
#include "base/json_writer.h"
#include "sim/child_process.h"

#include <csignal>
#include <utility>

#include <fmt/format.h>

namespace orrery::sim {

std::string to_json(const PlatformRequest& request) {
  JsonWriter out;
  out.begin_object().field("file", request.file).key("hosts").begin_array();
  for (const std::string& host : request.hosts) out.value(host);
  out.end_array().key("pairs").begin_array();
  for (const HostPair& pair : request.pairs) out.begin_array().value(pair.from).value(pair.to).end_array();
  out.end_array().end_object();
  return out.text();
}

PlatformRequest read_platform_request(const std::string& text) {
  const JsonDocument document = JsonDocument::parse_text(text, "request");
  const JsonObject in = document.root();
  PlatformRequest request;
  request.file = in.required("file").string();
  for (const JsonValue& host : in.required("hosts").array()) request.hosts.push_back(host.string());
  const auto last = static_cast<std::int64_t>(request.hosts.size()) - 1;
  for (const JsonValue& pair : in.required("pairs").array()) {
    const std::vector<JsonValue> ends = pair.array();
    if (ends.size() != 2) {
      pair.problem(fmt::format("expected two hosts, got {}", ends.size()));
      continue;
    }
    request.pairs.push_back(
        {ends[0].integer<std::size_t>({.min = 0, .max = last}), ends[1].integer<std::size_t>({.min = 0, .max = last})});
  }
  in.finish();
  document.throw_if_problems();
  return request;
}

std::string to_json(const PlatformRoutes& routes) {
  JsonWriter out;
  out.begin_object().key("links").begin_array();
  for (const PlatformLink& link : routes.links) {
    out.begin_object().field("name", link.name).field("bandwidth", link.bandwidth).field("shared", link.is_shared);
    out.end_object();
  }
  out.end_array().key("routes").begin_array();
  for (const PlatformRoute& route : routes.routes) {
    out.begin_object().field("latency", route.latency).key("links").begin_array();
    for (const std::size_t link : route.links) out.value(link);
    out.end_array().end_object();
  }
  out.end_array().end_object();
  return out.text();
}

PlatformRoutes read_platform_routes(const std::string& text) {
  const JsonDocument document = JsonDocument::parse_text(text, "answer");
  const JsonObject in = document.root();
  PlatformRoutes routes;
  for (const JsonValue& value : in.required("links").array()) {
    const JsonObject link = value.object();
    routes.links.push_back({.name = link.required("name").string(),
                            .bandwidth = link.required("bandwidth").quantity<BytesPerSecond>(),
                            .is_shared = link.required("shared").boolean()});
    link.finish();
  }
  const auto last = static_cast<std::int64_t>(routes.links.size()) - 1;
  for (const JsonValue& value : in.required("routes").array()) {
    const JsonObject route = value.object();
    PlatformRoute& added = routes.routes.emplace_back();
    added.latency = route.required("latency").quantity<Seconds>(Sign::not_negative);
    for (const JsonValue& link : route.required("links").array()) {
      added.links.push_back(link.integer<std::size_t>({.min = 0, .max = last}));
    }
    route.finish();
  }
  in.finish();
  document.throw_if_problems();
  return routes;
}

Cluster with_platform(Cluster cluster, const std::filesystem::path& file, const std::string& hosts,
                      const std::string& executable) {
  read_file(file.string());  // says so if it cannot be read
  const PlatformQuestion question = question_for(cluster, hosts);
  PlatformRequest request{.file = file.string(), .hosts = question.hosts, .pairs = {}};
  for (const PairsOfClass& of_class : question.classes) {
    request.pairs.insert(request.pairs.end(), of_class.pairs.begin(), of_class.pairs.end());
  }
  const Finished worker = run_child(executable, {"orrery", "platform-worker"}, to_json(request));
  if (worker.signal == SIGABRT) {  // SimGrid's answer to some mistakes in the file
    throw ConfigError({Problem{.file = file.string(),
                               .message = fmt::format("expected a platform of SimGrid, got: {}", worker.errors)}});
  }
  throw_if_failed(worker, "platform");
  return with_routes(std::move(cluster), question, read_platform_routes(worker.output));
}

}  // namespace orrery::sim
