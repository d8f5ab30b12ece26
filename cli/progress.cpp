// SPDX-License-Identifier: Apache-2.0
#include "cli/progress.h"

#include <cstdio>

#include <fmt/format.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

namespace orrery::cli {
namespace {

constexpr int kBarWidth = 30;
constexpr std::chrono::milliseconds kRedraw(200);

}  // namespace

ProgressLine::ProgressLine() : on_terminal_(isatty(STDERR_FILENO) == 1) {}

ProgressLine::~ProgressLine() { clear(); }

void ProgressLine::update(std::string_view part, std::int64_t done, std::int64_t total, std::string_view detail) {
  if (part != part_) {
    part_ = part;
    shown_percent_ = -1;
  }
  const int percent = total > 0 ? static_cast<int>(100 * done / total) : 100;
  const auto now = std::chrono::steady_clock::now();
  const bool is_news = on_terminal_ && !detail.empty() && now - shown_at_ > kRedraw;
  if (percent == shown_percent_ && !is_news) return;
  const bool is_finished = percent == 100 && percent != shown_percent_;
  shown_percent_ = percent;
  shown_at_ = now;
  const std::string known = detail.empty() ? "" : fmt::format(", {}", detail);
  if (on_terminal_) {
    const auto filled = static_cast<std::size_t>(percent * kBarWidth / 100);
    fmt::print(stderr, "\r\033[K{:<10} [{:<{}}] {} / {}{}", part, std::string(filled, '#'), kBarWidth, done, total,
               known);
    std::fflush(stderr);
  }
  if (is_finished) {
    clear();
    log_info(fmt::format("{}: {} done{}", part, total, known));
  }
}

void ProgressLine::clear() {
  if (!on_terminal_) return;
  fmt::print(stderr, "\r\033[K");
  std::fflush(stderr);
}

void set_up_log() {
  auto logger = std::make_shared<spdlog::logger>("orrery", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_pattern("orrery: %v");
  spdlog::set_default_logger(std::move(logger));
}

void log_info(std::string_view message) { spdlog::info("{}", message); }

}  // namespace orrery::cli
