// SPDX-License-Identifier: Apache-2.0
#include "cli/inputs.h"

#include "base/errors.h"
#include "base/files.h"
#include "base/json_reader.h"
#include "base/sha256.h"
#include "base/suggestion.h"
#include "base/units_format.h"
#include "cli/cluster_check.h"
#include "cli/progress.h"
#include "cli/recorded_load.h"
#include "program/hf_config.h"
#include "program/json_parts.h"
#include "program/sequence_json.h"
#include "sim/platform_import.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <utility>
#include <variant>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace orrery::cli {
namespace {

namespace fs = std::filesystem;

/// Names of the catalog's files of one kind, sorted; without those that only say where another one comes from.
std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code none;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, none)) {
    const fs::path stem = entry.path().stem();
    if (entry.path().extension() == ".json" && stem.extension() != ".source") names.push_back(stem.string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

bool is_path(const std::string& name) { return name.find('/') != std::string::npos || name.ends_with(".json"); }

/// `kind`: "model", "cluster" or "calibration"; `folder` of the catalog.
fs::path find_file(const InputOptions& options, const char* kind, const char* folder_name, const std::string& name) {
  if (is_path(name)) return name;
  const fs::path folder = options.catalog / folder_name;
  fs::path path = folder / (name + ".json");
  if (fs::exists(path)) return path;
  const std::vector<std::string> names = names_in(folder);
  const std::string nearest = nearest_word(name, names);
  throw ConfigError(fmt::format("{}: expected a path that ends in .json, or the name of a {} of the catalog {} ({}), "
                                "got \"{}\"",
                                kind, kind, options.catalog.string(), fmt::join(names, ", "), name),
                    nearest.empty() ? "" : fmt::format("did you mean \"{}\"?", nearest));
}

/// Files of the catalog are named by their place in it, so that a plan does not depend on where the catalog is.
Source source_of(const InputOptions& options, const fs::path& path) {
  Source source{.path = path.string(), .sha256 = "", .content = read_file(path.string()), .ignored_keys = {}};
  source.sha256 = sha256_hex(source.content);
  std::error_code none;
  const fs::path catalog = fs::weakly_canonical(options.catalog, none);
  const fs::path relative = fs::weakly_canonical(path, none).lexically_relative(catalog);
  if (!relative.empty() && *relative.begin() != "..") source.path = (fs::path("catalog") / relative).string();
  return source;
}

/// The device that a calibration names, with all that the catalog says of it: what it is judged by elsewhere.
void find_device(const InputOptions& options, costmodel::Calibration& calibration) {
  const auto* name = std::get_if<std::string>(&calibration.device);
  if (name == nullptr) return;
  if (std::optional<Device> device = device_of_catalog(options.catalog, *name)) calibration.device = std::move(*device);
}

Loaded<costmodel::Calibration> load_calibration_file(const InputOptions& options, const fs::path& path) {
  Source source = source_of(options, path);
  costmodel::Calibration calibration = costmodel::read_calibration_text(source.content, path.string());
  find_device(options, calibration);
  source.content = std::string();  // a calibration is large and stays a file
  return {std::move(calibration), std::move(source), path};
}

// No board may be told to draw less or more than this of what its calibration drew: an H100 of 700 W takes limits from
// 200 W. Beyond, the cube root that clocks follow says nothing.
constexpr double kLeastLimit = 0.15, kMostLimit = 2.0;

/// Of a calibration for devices that may be others: that is said, since every time is then that of another device.
/// Throws: ConfigError if they may draw what no such device can.
Loaded<costmodel::Calibration> for_devices(Loaded<costmodel::Calibration> loaded, const Cluster& cluster) {
  const Device& device = cluster.groups.front().device;
  const auto* known = std::get_if<Device>(&loaded.value.device);
  const std::string measured = known ? known->name : std::get<std::string>(loaded.value.device);
  if (measured != device.name) {
    log_info(fmt::format("{} is not calibrated here: all times are those of {}, which {} is a calibration of",
                         device.name, measured, loaded.source.path));
    return loaded;
  }
  const std::optional<Watts> limit = loaded.value.conditions.power_limit;
  if (!limit || !device.power_limit) return loaded;
  if (const double share = *device.power_limit / *limit; share < kLeastLimit || share > kMostLimit) {
    throw ConfigError(
        fmt::format("power_limit of {}: expected {} to {}, {} to {} times the {} under which {} was measured, got {}",
                    device.name, to_text(*limit * kLeastLimit), to_text(*limit * kMostLimit), kLeastLimit, kMostLimit,
                    to_text(*limit), loaded.source.path, to_text(*device.power_limit)));
  }
  return loaded;
}

template <class T>
T parse_number(std::string_view text, std::string_view whole) {
  T x{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), x);
  if (error != std::errc() || end != text.data() + text.size() || !(x > T{}) ||
      !std::isfinite(static_cast<double>(x))) {
    throw ConfigError(fmt::format("--load: expected a number above 0 instead of \"{}\" in \"{}\"", text, whole));
  }
  return x;
}

}  // namespace

fs::path default_catalog() {
  if (const char* folder = std::getenv("ORRERY_CATALOG"); folder != nullptr && *folder != '\0') return folder;
  return ORRERY_SOURCE_CATALOG;
}

Loaded<Model> load_model(const InputOptions& options, const std::string& name) {
  const fs::path path = find_file(options, "model", "models", name);
  Source source = source_of(options, path);
  source.ignored_keys = options.ignored_keys;
  Model model = read_model_text(source.content, path.string(), options.ignored_keys);
  return {std::move(model), std::move(source), path};
}

Loaded<Cluster> load_any_cluster(const InputOptions& options, const std::string& name) {
  const fs::path path = find_file(options, "cluster", "clusters", name);
  Source source = source_of(options, path);
  Cluster cluster = read_cluster_text(source.content, path.string(), options.catalog);
  // A file named in the cluster lies beside it.
  fs::path platform = cluster.platform.empty() ? fs::path() : path.parent_path() / cluster.platform;
  if (!options.platform.empty()) platform = options.platform;
  if (platform.empty()) return {std::move(cluster), std::move(source), path};
  const std::string hosts = options.hosts.empty() ? cluster.platform_hosts : options.hosts;
  cluster = sim::with_platform(std::move(cluster), platform, hosts);
  source.content = to_json(cluster);
  source.sha256 = sha256_hex(source.content);
  return {std::move(cluster), std::move(source), path};
}

Loaded<Cluster> load_cluster(const InputOptions& options, const std::string& name) {
  Loaded<Cluster> cluster = load_any_cluster(options, name);
  if (cluster.value.groups.size() == 1) {
    require_whole(cluster.value, cluster.path.string());
    return cluster;
  }
  throw ConfigError({Problem{.file = cluster.path.string(),
                             .pointer = "/groups",
                             .message = fmt::format("expected one group of nodes, got {}: steps over several groups "
                                                    "are not lowered yet",
                                                    cluster.value.groups.size())}});
}

std::optional<Device> device_of_catalog(const fs::path& catalog, const std::string& name) {
  const fs::path path = catalog / "devices" / (name + ".json");
  if (!fs::exists(path)) return std::nullopt;
  const JsonDocument document = JsonDocument::parse_file(path.string());
  Device device = read_device(document.root());
  document.throw_if_problems();
  return device;
}

Loaded<costmodel::Calibration> load_calibration(const InputOptions& options, const std::string& name,
                                                const Cluster& cluster) {
  if (!name.empty()) {
    return for_devices(load_calibration_file(options, find_file(options, "calibration", "calibration", name)), cluster);
  }
  const std::string& device = cluster.groups.front().device.name;
  // Calibrations of the catalog are named after their device's file, which is small.
  for (const std::string& candidate : names_in(options.catalog / "calibration")) {
    const fs::path file = options.catalog / "devices" / (candidate + ".json");
    if (!fs::exists(file) || JsonDocument::parse_file(file.string()).root().required("name").string() != device) {
      continue;
    }
    return for_devices(load_calibration_file(options, options.catalog / "calibration" / (candidate + ".json")),
                       cluster);
  }
  throw ConfigError(fmt::format("{} is not calibrated: the catalog has no calibration of it", device),
                    "pass --calibration FILE; orrery calibrate makes one of this machine");
}

Loaded<costmodel::Calibration> load_calibration(const InputOptions& options, const std::string& name,
                                                const Plan& plan) {
  if (!name.empty()) return load_calibration(options, name, plan.cluster);
  const Source& wanted = plan.calibration_source;
  fs::path path = wanted.path;
  if (!fs::exists(path)) {
    const fs::path in_catalog = options.catalog / path.lexically_relative("catalog");
    path = fs::exists(in_catalog) ? in_catalog : options.catalog / "calibration" / path.filename();
  }
  Loaded<costmodel::Calibration> loaded = load_calibration_file(options, path);
  if (loaded.source.sha256 == wanted.sha256) return for_devices(std::move(loaded), plan.cluster);
  throw ConfigError(
      {Problem{.file = path.string(),
               .message = fmt::format("expected the file that the plan was made with, of sha256 {}..., got {}...",
                                      wanted.sha256.substr(0, 12), loaded.source.sha256.substr(0, 12)),
               .hint = "pass --calibration FILE to predict with another one"}});
}

LoadModel parse_load(std::string_view text) {
  std::vector<std::string_view> parts;
  for (std::string_view rest = text;;) {
    const std::size_t colon = rest.find(':');
    parts.push_back(rest.substr(0, colon));
    if (colon == std::string_view::npos) break;
    rest.remove_prefix(colon + 1);
  }
  if (text == "balanced") return BalancedLoad{};
  if (parts[0] == "popularity" && parts.size() > 1)
    return popularity_load(std::string(text.substr(text.find(':') + 1)));
  if (parts.size() == 2 || parts.size() == 3) {
    const auto seed = [&] { return parts.size() == 3 ? parse_number<std::uint64_t>(parts[2], text) : 1; };
    if (parts[0] == "dirichlet") return DirichletLoad{parse_number<double>(parts[1], text), seed()};
    if (parts[0] == "zipf") return ZipfLoad{parse_number<double>(parts[1], text), seed()};
  }
  throw ConfigError(
      fmt::format("--load: expected \"balanced\", \"dirichlet:ALPHA[:SEED]\", \"zipf:EXPONENT[:SEED]\" or "
                  "\"popularity:TRACE\", got \"{}\"",
                  text));
}

SequenceModel load_sequences(const std::string& path, std::int64_t seq) {
  if (path.empty()) return FixedLengths{};
  SequenceModel sequences = read_sequences(path);
  if (const std::int64_t place = first_too_long(sequences, seq); place >= 0) {
    throw ConfigError({Problem{.file = path,
                               .pointer = fmt::format("/sequences/{}", place),
                               .message = fmt::format("expected documents of at most {} tokens together", seq),
                               .hint = "--sequence says how many tokens a sequence has"}});
  }
  return sequences;
}

}  // namespace orrery::cli
