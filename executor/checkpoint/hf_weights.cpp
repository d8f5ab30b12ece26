// SPDX-License-Identifier: Apache-2.0
#include "executor/checkpoint/hf_weights.h"

#include "base/check.h"
#include "base/errors.h"
#include "base/files.h"
#include "program/hf_config.h"
#include "program/model_differences.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace orrery::executor {
namespace {

HfTensors tensors_in(const Model& model, const std::filesystem::path& folder,
                     const std::set<std::string>& ignored_keys) {
  const std::string file = (folder / "config.json").string(), config = read_file(file);
  ProblemList problems;
  for (std::string& difference : differences(model, read_model_text(config, file, ignored_keys))) {
    problems.add({.file = file, .message = std::move(difference)});
  }
  problems.throw_if_any();
  return {model, config, file};
}

/// One of the two directions in which elements of a part lie: `count` of them, `stride` apart in the tensor and `step`
/// apart in the box.
struct Direction {
  std::int64_t count, stride, step;
};

}  // namespace

HfWeights::HfWeights(const Model& model, const std::filesystem::path& folder, const std::set<std::string>& ignored_keys)
    : folder_(folder), tensors_(tensors_in(model, folder, ignored_keys)) {}

void HfWeights::check(const std::vector<Parameter>& weights) const {
  ProblemList problems;
  const auto problem = [&](const std::string& file, std::string message) {
    problems.add({.file = file, .message = std::move(message)});
  };
  const std::map<std::string, TensorShape> wanted = tensors_.tensors(weights);
  for (const auto& [name, shape] : wanted) {
    const auto found = folder_.tensors().find(name);
    if (found == folder_.tensors().end()) {
      problem(folder_.path().string(), fmt::format("missing tensor '{}' of {}", name, fmt::join(shape, " x ")));
      continue;
    }
    const SafetensorsFile::Tensor& got = found->second->tensors().at(name);
    if (got.shape != shape) {
      problem(found->second->path(), fmt::format("tensor '{}': expected {}, got {}", name, fmt::join(shape, " x "),
                                                 fmt::join(got.shape, " x ")));
    }
    if (!is_float(got.type)) {
      problem(found->second->path(),
              fmt::format("tensor '{}': expected F32, BF16 or F16, got {}", name, name_of(kStoredTypeNames, got.type)));
    }
  }
  const bool has_modules = std::any_of(
      wanted.begin(), wanted.end(), [&](const auto& tensor) { return tensors_.is_of_prediction_module(tensor.first); });
  for (const auto& [name, file] : folder_.tensors()) {
    if (wanted.contains(name) || tensors_.is_redundant(name)) continue;
    if (tensors_.is_of_prediction_module(name) && !has_modules) continue;  // the plan leaves them out
    problem(file->path(), fmt::format("unknown tensor '{}': the model has no weight for it", name));
  }
  problems.throw_if_any();
}

void HfWeights::read(const Parameter& weight, const Box& box, std::span<float> out) const {
  CHECK(static_cast<std::int64_t>(out.size()) == box.size(), name_of(weight), out.size(), box.size());
  std::int64_t num_read = 0;
  for (const HfPart& part : tensors_.parts(weight)) {
    const Box shared = common(part.box, box);
    if (shared.size() == 0) continue;
    read_part(part, shared, box, out);
    num_read += shared.size();
  }
  CHECK(num_read == box.size(), name_of(weight), num_read, box.size());
}

void HfWeights::read_part(const HfPart& part, const Box& shared, const Box& box, std::span<float> out) const {
  const SafetensorsFile& file = *folder_.tensors().at(part.tensor);
  const std::int64_t row = shared.row - part.box.row, col = shared.col - part.box.col;
  const std::int64_t first = part.first + row * part.row_stride + col * part.col_stride;
  const std::int64_t target = (shared.row - box.row) * box.cols + shared.col - box.col;
  Direction inner{shared.cols, part.col_stride, 1}, outer{shared.rows, part.row_stride, box.cols};
  // Neighbours in the tensor are read together, whatever they are in the weight.
  if (inner.count == 1 || (outer.count > 1 && outer.stride < inner.stride)) std::swap(inner, outer);
  const bool is_one_run = outer.stride == inner.count * inner.stride && inner.stride == 1;
  const std::int64_t together = is_one_run ? outer.count : 1;  // lines of the inner direction
  std::vector<float> line(static_cast<std::size_t>(together * ((inner.count - 1) * inner.stride + 1)));
  for (std::int64_t i = 0; i < outer.count; i += together) {
    file.read_f32(part.tensor, first + i * outer.stride, line);
    for (std::int64_t j = 0; j < together * inner.count; ++j) {
      const std::int64_t at = target + (i + j / inner.count) * outer.step + j % inner.count * inner.step;
      out[static_cast<std::size_t>(at)] = line[static_cast<std::size_t>(j * inner.stride)];
    }
  }
}

}  // namespace orrery::executor
