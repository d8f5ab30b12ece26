// SPDX-License-Identifier: Apache-2.0
#include "executor/checkpoint/hf_export.h"

#include "base/check.h"
#include "base/errors.h"
#include "base/files.h"
#include "base/json_reader.h"
#include "base/json_writer.h"
#include "executor/checkpoint/hf_folder.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <utility>

#include <fmt/format.h>

namespace orrery::executor {
namespace {

namespace fs = std::filesystem;

/// A tensor of the folder, and where its elements come from.
struct Target {
  TensorShape shape;
  std::map<std::string, std::vector<HfPart>> parts;  // by the name of the weight in the checkpoint

  std::int64_t elements() const {
    return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
  }
};

using Targets = std::map<std::string, Target>;

Targets targets_of(const HfTensors& names, const std::vector<Parameter>& weights) {
  Targets targets;
  for (const Parameter& weight : weights) {
    for (HfPart& part : names.parts(weight)) {
      Target& target = targets[part.tensor];
      target.shape = part.shape;
      target.parts[name_of(weight)].push_back(std::move(part));
    }
  }
  return targets;
}

/// The smallest box with both in it.
Box around(const Box& a, const Box& b) {
  const std::int64_t row = std::min(a.row, b.row), col = std::min(a.col, b.col);
  return {row, std::max(a.row + a.rows, b.row + b.rows) - row, col, std::max(a.col + a.cols, b.col + b.cols) - col};
}

std::vector<std::byte> bytes_of(const CheckpointReader& checkpoint, const std::string& name, const Target& target,
                                StoredType type) {
  std::vector<float> values(static_cast<std::size_t>(target.elements()));
  std::int64_t num_written = 0;
  for (const auto& [weight, parts] : target.parts) {
    Box all = parts.front().box;
    for (const HfPart& part : parts) all = around(all, part.box);
    std::vector<float> box(static_cast<std::size_t>(all.size()));
    checkpoint.read(weight, StatePart::value, all, box);
    for (const HfPart& part : parts) {
      for (std::int64_t i = 0; i < part.box.size(); ++i) {
        const std::int64_t row = i / part.box.cols, col = i % part.box.cols;
        const std::int64_t from = (part.box.row + row - all.row) * all.cols + part.box.col + col - all.col;
        const std::int64_t to = part.first + row * part.row_stride + col * part.col_stride;
        values[static_cast<std::size_t>(to)] = box[static_cast<std::size_t>(from)];
      }
      num_written += part.box.size();
    }
  }
  CHECK(num_written == target.elements(), name, num_written);
  constexpr float kLargestF16 = 65504.0F;
  for (const float value : values) {
    if (type != StoredType::f16 || std::abs(value) <= kLargestF16 || std::isnan(value)) continue;
    throw ConfigError(fmt::format("tensor '{}': {} does not fit f16, which ends at {}", name, value, kLargestF16));
  }
  return narrowed(type, values);
}

/// Names of the tensors of each file, in order.
std::vector<std::vector<std::string>> files_of(const Targets& targets, const HfExport& how) {
  std::vector<std::vector<std::string>> files(1);
  std::int64_t bytes = 0;
  for (const auto& [name, target] : targets) {
    const std::int64_t size = target.elements() * size_of(how.type);
    if (!files.back().empty() && bytes + size > how.most_file_bytes) {
      files.emplace_back();
      bytes = 0;
    }
    files.back().push_back(name);
    bytes += size;
  }
  return files;
}

std::string file_name(std::size_t index, std::size_t count) {
  if (count == 1) return HfFolder::kSingle;
  return fmt::format("model-{:05}-of-{:05}.safetensors", index + 1, count);
}

std::string index_of(const std::vector<std::vector<std::string>>& files, std::int64_t bytes) {
  std::map<std::string, std::string> places;
  for (std::size_t i = 0; i < files.size(); ++i) {
    for (const std::string& name : files[i]) places[name] = file_name(i, files.size());
  }
  JsonWriter out;
  out.begin_object().key("metadata").begin_object().field("total_size", bytes).end_object();
  out.key("weight_map").begin_object();
  for (const auto& [name, file] : places) out.field(name, file);
  out.end_object().end_object();
  return out.text();
}

std::string config_of(const std::string& config, StoredType type) {
  constexpr Named<StoredType> kTorchNames[] = {
      {"float32", StoredType::f32}, {"bfloat16", StoredType::bf16}, {"float16", StoredType::f16}};
  const JsonDocument document = JsonDocument::parse_text(config, "config.json");
  const JsonObject in = document.root();
  JsonWriter out;
  out.begin_object();
  for (const std::string& key : in.keys()) {
    if (key == "torch_dtype" || key == "dtype" || key == "quantization_config") continue;
    out.key(key);
    in.required(key).write(out);
  }
  out.field("torch_dtype", name_of(kTorchNames, type)).end_object();
  return out.text();
}

void start_folder(const fs::path& folder) {
  std::error_code error;
  if (fs::exists(folder, error) && !(fs::is_directory(folder, error) && fs::is_empty(folder, error))) {
    throw ConfigError({Problem{.file = folder.string(), .message = "expected a new or an empty folder"}});
  }
  fs::create_directories(folder, error);
  if (error) throw BackendError(fmt::format("cannot make {}: {}", folder.string(), error.message()));
}

}  // namespace

ExportedFolder export_hf(const CheckpointReader& checkpoint, const HfTensors& names,
                         const std::vector<Parameter>& weights, const std::string& config, const HfExport& how,
                         const fs::path& folder) {
  start_folder(folder);
  const Targets targets = targets_of(names, weights);
  const std::vector<std::vector<std::string>> files = files_of(targets, how);
  ExportedFolder done{.num_tensors = static_cast<std::int64_t>(targets.size()), .files = {}};
  for (std::size_t i = 0; i < files.size(); ++i) {
    std::vector<std::vector<std::byte>> bytes;
    std::vector<TensorToWrite> tensors;
    for (const std::string& name : files[i]) {
      bytes.push_back(bytes_of(checkpoint, name, targets.at(name), how.type));
      tensors.push_back({.name = name, .type = how.type, .shape = targets.at(name).shape, .bytes = bytes.back()});
      done.bytes += static_cast<std::int64_t>(bytes.back().size());
    }
    done.files.push_back(file_name(i, files.size()));
    write_safetensors((folder / done.files.back()).string(), {{"format", "pt"}}, tensors);
  }
  if (files.size() > 1) write_file_atomically((folder / HfFolder::kIndex).string(), index_of(files, done.bytes));
  write_file_atomically((folder / "config.json").string(), config_of(config, how.type));
  return done;
}

}  // namespace orrery::executor
