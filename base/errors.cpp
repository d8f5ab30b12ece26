// SPDX-License-Identifier: Apache-2.0
#include "base/errors.h"

#include "base/check.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include <fmt/format.h>

namespace orrery {
namespace {

std::string to_text(const std::vector<Problem>& problems) {
  std::string text;
  for (const Problem& problem : problems) {
    if (!text.empty()) text += '\n';
    text += orrery::to_text(problem);
  }
  return text;
}

std::string backend_message(int rank, const std::string& op_key, const std::string& message) {
  if (op_key.empty()) return fmt::format("rank {}: {}", rank, message);
  return fmt::format("rank {}, {}: {}", rank, op_key, message);
}

}  // namespace

std::string to_text(const Problem& problem) {
  std::string text = problem.file;
  if (problem.line > 0) text += fmt::format(":{}", problem.line);
  if (!text.empty()) text += ": ";
  if (!problem.pointer.empty()) text += problem.pointer + ": ";
  text += problem.message;
  if (!problem.hint.empty()) text += "\n  hint: " + problem.hint;
  return text;
}

ConfigError::ConfigError(std::vector<Problem> problems)
    : std::runtime_error(to_text(problems)), problems_(std::move(problems)) {
  CHECK(!problems_.empty());
}

ConfigError::ConfigError(std::string message, std::string hint)
    : ConfigError({Problem{.message = std::move(message), .hint = std::move(hint)}}) {}

BackendError::BackendError(const std::string& message) : std::runtime_error(message) {}

BackendError::BackendError(int rank, const std::string& op_key, const std::string& message)
    : std::runtime_error(backend_message(rank, op_key, message)), rank_(rank) {}

void ProblemList::throw_if_any() const {
  if (problems_.empty()) return;
  std::vector<Problem> sorted = problems_;
  std::stable_sort(sorted.begin(), sorted.end(), [](const Problem& a, const Problem& b) {
    return std::tie(a.file, a.line) < std::tie(b.file, b.line);
  });
  throw ConfigError(std::move(sorted));
}

}  // namespace orrery
