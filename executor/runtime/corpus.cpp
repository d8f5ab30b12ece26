// SPDX-License-Identifier: Apache-2.0
#include "executor/runtime/corpus.h"

#include "base/check.h"
#include "base/errors.h"
#include "base/files.h"
#include "base/rng.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include <fmt/format.h>

namespace orrery::executor {
namespace {

constexpr std::int64_t kSuccessors = 4;  // of each token in the synthetic text

}  // namespace

std::string read_corpus(const std::string& path) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
    throw ConfigError({Problem{.file = path,
                               .message = fmt::format("expected a file that every rank can read, got a {}",
                                                      std::filesystem::is_directory(status) ? "folder"
                                                      : std::filesystem::is_fifo(status)    ? "pipe"
                                                                                            : "device")}});
  }
  return read_file(path);
}

Corpus::Corpus(const std::string& path, std::int64_t vocab, std::int64_t seq, std::uint64_t seed)
    : vocab_(vocab), seq_(seq), seed_(seed) {
  if (path.empty()) return;
  text_ = read_corpus(path);
  const auto size = static_cast<std::int64_t>(text_.size());
  if (size < seq + 1) {
    throw ConfigError(
        fmt::format("{}: expected at least {} bytes (one sequence and its last label), got {}", path, seq + 1, size));
  }
  unsigned char largest = 0;
  for (const char byte : text_) largest = std::max(largest, static_cast<unsigned char>(byte));
  if (largest >= vocab) {
    throw ConfigError(fmt::format("{}: expected bytes below {} (the vocabulary), got {}", path, vocab, largest));
  }
}

void Corpus::sequence(std::int64_t index, std::span<std::int64_t> tokens, std::span<std::int64_t> labels) const {
  CHECK(static_cast<std::int64_t>(tokens.size()) >= seq_ && tokens.size() == labels.size(), tokens.size());
  const std::size_t size = tokens.size();
  if (text_.empty()) {
    const CounterRng walk(seed_, static_cast<std::uint64_t>(index) + 1), successors(seed_, 0);
    auto token = static_cast<std::int64_t>(walk.below(0, static_cast<std::uint64_t>(vocab_)));
    for (std::size_t i = 0; i < size; ++i) {
      tokens[i] = token;
      const std::uint64_t choice = walk.below(i + 1, kSuccessors);
      const std::uint64_t edge = static_cast<std::uint64_t>(token) * kSuccessors + choice;
      token = static_cast<std::int64_t>(successors.below(edge, static_cast<std::uint64_t>(vocab_)));
      labels[i] = token;
    }
    return;
  }
  // Consecutive sequences are consecutive pieces of the text, around its end if need be.
  const auto positions = static_cast<std::int64_t>(text_.size()) - seq_;
  const std::int64_t start = index * seq_ % positions;
  for (std::size_t i = 0; i < size; ++i) {
    const std::size_t at = static_cast<std::size_t>(start) + i;
    tokens[i] = static_cast<unsigned char>(text_[at % text_.size()]);
    labels[i] = static_cast<unsigned char>(text_[(at + 1) % text_.size()]);
  }
}

}  // namespace orrery::executor
