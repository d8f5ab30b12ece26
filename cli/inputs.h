// SPDX-License-Identifier: Apache-2.0
// From what a user types to what the house works on: names are looked up in the catalog, files are read, and each one
// remembers where it came from, for the plan that is written later.
#pragma once

#include "costmodel/calibration.h"
#include "program/cluster.h"
#include "program/load_model.h"
#include "program/model.h"
#include "program/plan.h"
#include "program/sequence_model.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <string_view>

namespace orrery::cli {

/// Where names are looked up, and which keys of a config.json may be unknown.
struct InputOptions {
  std::filesystem::path catalog;
  std::set<std::string> ignored_keys;
  std::string platform, hosts;  // of a file of SimGrid for the cluster, and how it names nodes; empty: the cluster says
};

/// ORRERY_CATALOG, or the folder catalog/ of the sources that this binary was built from.
std::filesystem::path default_catalog();

/// What was read from a file, and the file: `source` names it for plans, `path` for this process.
template <class T>
struct Loaded {
  T value;
  Source source;
  std::filesystem::path path;
};

/// `name` is a path, or the name of a file of the catalog without ".json".
/// Throws: ConfigError with the names that there are, or with the problems of the file. So do all below.
Loaded<Model> load_model(const InputOptions& options, const std::string& name);
/// Rates of a platform file are taken over, and the source holds the cluster with them.
/// To place a plan on: of one group of nodes, the only kind that steps are lowered for, whose network is whole
/// (cli/cluster_check.h).
Loaded<Cluster> load_cluster(const InputOptions& options, const std::string& name);
/// As it is.
Loaded<Cluster> load_any_cluster(const InputOptions& options, const std::string& name);

/// Nothing if the catalog has no such device.
std::optional<Device> device_of_catalog(const std::filesystem::path& catalog, const std::string& name);

/// With an empty `name`: the calibration of the catalog that was made for the devices of `cluster`. Of one that was
/// made for other devices stderr says so. A device of the catalog that it names is put in its place.
/// Throws: ConfigError also if the devices may draw much less or more power than that device did.
Loaded<costmodel::Calibration> load_calibration(const InputOptions& options, const std::string& name,
                                                const Cluster& cluster);
/// With an empty `name`: the calibration that the plan was made with, looked for at its path and then in the catalog,
/// and only if it is still the same.
Loaded<costmodel::Calibration> load_calibration(const InputOptions& options, const std::string& name, const Plan& plan);

/// "balanced", "dirichlet:ALPHA[:SEED]", "zipf:EXPONENT[:SEED]", or "popularity:TRACE": what the routers of an executed
/// step preferred, for any layout.
LoadModel parse_load(std::string_view text);

/// With an empty `path`: one document each. Throws: ConfigError, also for recorded sequences of more than `seq` tokens.
SequenceModel load_sequences(const std::string& path, std::int64_t seq);

}  // namespace orrery::cli
