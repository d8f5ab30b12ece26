// SPDX-License-Identifier: Apache-2.0
#include "executor/runtime/routing_file.h"

#include "base/check.h"
#include "base/errors.h"
#include "base/files.h"
#include "base/sha256.h"
#include "executor/checkpoint/safetensors.h"
#include "executor/runtime/saved_state.h"

#include <algorithm>
#include <cstring>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace orrery::executor {
namespace {

constexpr const char* kSchema = "routing/1";

std::string name_of(std::int64_t layer) { return fmt::format("layers.{}", layer); }

std::vector<std::int64_t> shape_of(const StepProgram& program) {
  return {program.batch.global_batch, program.batch.seq, program.model.moe->top_k};
}

/// What a file says beside its tensors, and must say for this program.
std::map<std::string, std::string> metadata_of(const StepProgram& program) {
  return {{"schema", kSchema}, {"num_experts", fmt::format("{}", program.model.moe->num_experts)}};
}

void check_header(const SafetensorsFile& file, const StepProgram& program, ProblemList& problems) {
  const auto problem = [&](std::string message) { problems.add({.file = file.path(), .message = std::move(message)}); };
  for (const auto& [key, wanted] : metadata_of(program)) {
    const auto found = file.metadata().find(key);
    const std::string got = found == file.metadata().end() ? "none" : found->second;
    if (got != wanted) problem(fmt::format("expected {} {}, got {}", key, wanted, got));
  }
  const std::vector<std::int64_t> shape = shape_of(program), layers = routed_layers(program);
  std::set<std::string> wanted;
  for (const std::int64_t layer : layers) {
    const std::string name = *wanted.insert(name_of(layer)).first;
    const auto found = file.tensors().find(name);
    if (found == file.tensors().end()) {
      problem(fmt::format("missing tensor '{}'", name));
    } else if (found->second.shape != shape || found->second.type != StoredType::i32) {
      problem(fmt::format("tensor '{}': expected {} of type I32, got {} of type {}", name, fmt::join(shape, " x "),
                          fmt::join(found->second.shape, " x "),
                          orrery::name_of(kStoredTypeNames, found->second.type)));
    }
  }
  for (const auto& [name, ignored] : file.tensors()) {
    if (!wanted.contains(name)) problem(fmt::format("unknown tensor '{}'", name));
  }
}

void expect_routers(const StepProgram& program) {
  if (!program.model.moe) throw ConfigError(fmt::format("routing of {}: no layer has experts", program.model.name));
}

}  // namespace

std::vector<std::int64_t> routed_layers(const StepProgram& program) {
  std::vector<std::int64_t> layers;
  for (const Parameter& weight : whole_parameters(program)) {
    if (weight.role == WeightRole::router) layers.push_back(weight.layer);
  }
  return layers;
}

std::filesystem::path routing_of_step(const std::filesystem::path& folder, std::int64_t step) {
  return folder / fmt::format("step_{:08}.safetensors", step);
}

void start_routing(const std::filesystem::path& folder, const StepProgram& program) {
  expect_routers(program);
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw BackendError(fmt::format("cannot make {}: {}", folder.string(), error.message()));
}

void write_routing(const std::filesystem::path& file, const StepProgram& program, const Choices& choices) {
  std::vector<TensorToWrite> tensors;
  for (const auto& [layer, experts] : choices) {
    tensors.push_back({.name = name_of(layer),
                       .type = StoredType::i32,
                       .shape = shape_of(program),
                       .bytes = std::as_bytes(std::span(experts))});
  }
  write_safetensors(file.string(), metadata_of(program), tensors);
}

void check_routing(const std::filesystem::path& folder, const StepProgram& program, std::int64_t first,
                   std::int64_t end) {
  expect_routers(program);
  ProblemList problems;
  for (std::int64_t step = first; step < end; ++step) {
    try {
      check_header(SafetensorsFile(routing_of_step(folder, step).string()), program, problems);
    } catch (const ConfigError& failure) {
      for (const Problem& problem : failure.problems()) problems.add(problem);
    }
  }
  problems.throw_if_any();
}

std::string hash_of_routing(const std::filesystem::path& folder, std::int64_t first, std::int64_t end) {
  Sha256 hash;
  for (std::int64_t step = first; step < end; ++step) hash.update(read_file(routing_of_step(folder, step).string()));
  return hash.hex();
}

Choices read_routing(const std::filesystem::path& path, const StepProgram& program) {
  const SafetensorsFile file(path.string());
  ProblemList problems;
  check_header(file, program, problems);
  problems.throw_if_any();
  const auto top_k = static_cast<std::size_t>(program.model.moe->top_k);
  Choices choices;
  for (const std::int64_t layer : routed_layers(program)) {
    const std::vector<std::byte> bytes = file.read(name_of(layer));
    std::vector<std::int32_t>& experts = choices[layer];
    experts.resize(bytes.size() / sizeof(std::int32_t));
    std::memcpy(experts.data(), bytes.data(), bytes.size());
    for (std::size_t first = 0; first < experts.size(); first += top_k) {
      const std::set<std::int32_t> own(experts.begin() + static_cast<std::ptrdiff_t>(first),
                                       experts.begin() + static_cast<std::ptrdiff_t>(first + top_k));
      if (own.size() == top_k && *own.begin() >= 0 && *own.rbegin() < program.model.moe->num_experts) continue;
      throw ConfigError({Problem{.file = path.string(),
                                 .message = fmt::format("tensor '{}', token {}: expected {} different experts of {}, "
                                                        "got {}",
                                                        name_of(layer), first / top_k, top_k,
                                                        program.model.moe->num_experts, fmt::join(own, " "))}});
    }
  }
  return choices;
}

}  // namespace orrery::executor
