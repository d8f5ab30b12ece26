// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/json_reader.h"
#include "base/json_writer.h"
#include "program/cluster.h"
#include "program/fidelity.h"
#include "program/legality.h"
#include "program/load_model.h"
#include "program/model.h"
#include "program/sequence_model.h"
#include "program/strategy.h"

#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

// Readers and writers of the objects that stand in a file of their own and inside plan/1 alike. Problems are reported
// to the document of `in`; whoever opened it throws them.

namespace orrery {

/// A `config.json`, or model/1 if the object says so in "schema".
Model read_model(const JsonObject& in, const std::string& name, const std::set<std::string>& ignored_keys);
/// model/1 only.
Model read_own_model(const JsonObject& in, const std::string& name);

/// Problems of device files are added to `problems`, since they belong to other documents. An empty `catalog`: names of
/// devices are refused.
Cluster read_cluster(const JsonObject& in, const std::string& name, const std::filesystem::path& catalog,
                     ProblemList& problems);
void write_cluster(JsonWriter& out, const Cluster& cluster);

/// The key of `in` as a bandwidth per direction; null: unknown, "unlimited": infinite.
std::optional<BytesPerSecond> read_bandwidth(const JsonObject& in, std::string_view key);
void write_bandwidth(JsonWriter& out, std::string_view key, const std::optional<BytesPerSecond>& value);

/// Checked against the groups that were read.
Fabric read_fabric(const JsonObject& in, const std::vector<NodeGroup>& groups);
void write_fabric(JsonWriter& out, const Fabric& fabric);

Device read_device(const JsonObject& in);
void write_device(JsonWriter& out, const Device& device);

Strategy read_strategy(const JsonObject& in, const Model& model);
void write_strategy(JsonWriter& out, const Strategy& strategy);
/// Checks the derived degree "dp", if the strategy states it, against `num_devices`.
void check_stated_dp(const JsonObject& in, const Strategy& strategy, std::int64_t num_devices);
/// Reports violations at the keys of `in` that break the rules; where a default does, at the object itself.
void report(const std::vector<Violation>& violations, const JsonObject& in);

LoadModel read_load(const JsonValue& in);
/// Requires: not a recorded load, which no file holds.
void write_load(JsonWriter& out, const LoadModel& load);

/// Levels by the name of a communication, and "default".
Fidelities read_fidelities(const JsonObject& in);
void write_fidelities(JsonWriter& out, const Fidelities& fidelities);

/// "fixed", or a sequence/1 object.
SequenceModel read_sequences(const JsonValue& in);
void write_sequences(JsonWriter& out, const SequenceModel& model);
/// The object alone, as a file holds it.
SequenceModel read_sequences(const JsonObject& in);

}  // namespace orrery
